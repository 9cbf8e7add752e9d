"""The role `web`: pages for customers and operators, made on the server from the reads of the API."""
