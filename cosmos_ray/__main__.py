from cosmos_ray import signals


def main() -> None:
    """`cosmos-ray`. Signals are heard before the first slow import."""
    signals.hear()
    try:
        from cosmos_ray.cli.main import main as command

        command()
    except KeyboardInterrupt:
        signals.complain(signals.reason() or "interrupted")
        signals.leave(1)


if __name__ == "__main__":
    main()
