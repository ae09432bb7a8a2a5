from cosmos_ray.cli.main import main

main()
