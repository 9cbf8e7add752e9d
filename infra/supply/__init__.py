"""What is installed and shipped: versions with hashes, bills of materials, licences."""
