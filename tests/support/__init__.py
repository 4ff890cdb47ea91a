"""What several tests share: small models, scenes and pictures made on the spot."""
