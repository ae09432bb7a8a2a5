"""What AWS says of spot instances is understood by `cluster/aws_spot_notice.py`."""

from __future__ import annotations

import http.server
import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
from support.paths import ROOT

CLUSTER = ROOT / "cluster"


class _Metadata(http.server.BaseHTTPRequestHandler):
    """EC2's instance metadata service, version 2, as far as spot notices go: none at first, then one, in two hours."""

    asked: list[str]

    def do_PUT(self) -> None:
        self._answer(200, "a-token")

    def do_GET(self) -> None:
        authorised = self.headers["X-aws-ec2-metadata-token"] == "a-token"
        self.asked.append(self.path if authorised else "unauthorised")
        ends = (datetime.now(UTC) + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
        found = len(self.asked) > 2
        self._answer(200 if found else 404, json.dumps({"action": "terminate", "time": ends}) if found else "")

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        return


def test_a_spot_notice_is_waited_for_and_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    handler = type("Metadata", (_Metadata,), {"asked": asked})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.syspath_prepend(CLUSTER)
    import aws_spot_notice

    monkeypatch.setattr(aws_spot_notice, "_SERVICE", f"http://127.0.0.1:{server.server_port}")
    assert 6000 < aws_spot_notice.wait_for_notice(poll_s=0.01) <= 7200
    assert asked == ["/latest/meta-data/spot/instance-action"] * 3
    server.shutdown()
