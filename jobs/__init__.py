"""The three Flink jobs: a folder a job with its SQL, and `flink`, which configures, compiles and submits them."""
