from cosmos_ray.cli import main

main()
