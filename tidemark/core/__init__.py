"""What every capability rests on: settings, names, errors, Postgres, Kafka, migrations, the loop of a service."""
