"""The whole tree of an output, by name: every path that anything writes or reads below OUTPUT starts with one of these.

clips/ID/<attempt>/<view>.mp4, clip.json          CLIPS, SIDECAR     the clip's videos and its sidecar
previews/ID/<attempt>.mp4, <attempt>.jpg          PREVIEWS           its views, small, in one video and one picture
_cosmos_ray/run.json                              RUN                what the output is made from
_cosmos_ray/manifest.parquet                      TABLE              the manifest, where that was given as a table
_cosmos_ray/kept/<sha256>.parquet                 KEPT               the rows of the manifest, as the last job read them
_cosmos_ray/lease/                                LEASE              who owns it
_cosmos_ray/attempts/ID.N                         ATTEMPTS           written before attempt N starts
_cosmos_ray/steps/ID.<request hash>.safetensors   STEPS              the clip in flight, if it is to be stored
_cosmos_ray/refined/<shard>/<key>.json             REFINED            words that a refiner found, by what it was asked
_cosmos_ray/ledger/<shard>/ID.<generation>.json   LEDGER             the commit record, created only if absent
_cosmos_ray/ledger/<epoch>-<random>.parquet       LEDGER             records that were moved together
_cosmos_ray/retries/<n>.json                      RETRIES            generations opened by `retry`, `--redo-changed`
_cosmos_ray/jobs/<epoch>.json                     JOBS               what each job took, for the report
_cosmos_ray/reproduced/                           REPRODUCED         while `reproduce` makes a clip again
_cosmos_ray/probes/                               storage.PROBES     what a store is tried with before a job
index.parquet, failures.parquet, report.html      INDEX, FAILURES,   derived from all of the above at any time
                                                  REPORT
report/<sha256>.js                                REPORT_ROWS        rows of the page, beside it

`compare` has an output like this for each setting, in a folder whose table is compare.json (COMPARISON).
"""

CLIPS = "clips"
SIDECAR = "clip.json"
PREVIEWS = "previews"

RUN = "_cosmos_ray/run.json"
TABLE = "_cosmos_ray/manifest.parquet"
KEPT = "_cosmos_ray/kept"
LEASE = "_cosmos_ray/lease"
ATTEMPTS = "_cosmos_ray/attempts"
STEPS = "_cosmos_ray/steps"
REFINED = "_cosmos_ray/refined"
LEDGER = "_cosmos_ray/ledger"
RETRIES = "_cosmos_ray/retries"
JOBS = "_cosmos_ray/jobs"
REPRODUCED = "_cosmos_ray/reproduced"

INDEX = "index.parquet"
FAILURES = "failures.parquet"
REPORT = "report.html"
REPORT_ROWS = "report"
COMPARISON = "compare.json"


def kept_path(manifest_sha256: str) -> str:
    """Where the rows of the manifest with this hash are."""
    return f"{KEPT}/{manifest_sha256}.parquet"
