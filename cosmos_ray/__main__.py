from cosmos_ray import signals


def main() -> None:
    """`cosmos-ray`. Signals are heard before the first slow import."""
    signals.hear()
    try:
        from cosmos_ray.cli.main import main as command

        command()
    except KeyboardInterrupt:
        signals.complain(signals.reason() or "interrupted")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
