"""The one place for versions of the services; tests hold pom.xml, compose.yaml and the Dockerfile to it."""

FLINK = "2.2.1"
KAFKA = "4.1.0"
SCALA_OF_KAFKA = "2.13"
LOG4J_OF_KAFKA = "2.24.3"
# Of a stack with two JobManagers. Its server needs the other two.
ZOOKEEPER = "3.9.5"
METRICS_OF_ZOOKEEPER = "4.2.30"
SNAPPY_OF_ZOOKEEPER = "1.1.10.7"
FLINK_KAFKA_CONNECTOR = "5.0.0-2.2"
FLINK_JDBC_CONNECTOR = "4.0.0-2.0"
# 2.2.1 is not on Maven Central.
FLINK_S3 = "2.2.0"
# Flink's client of ZooKeeper; Flink 2.2 ships 20.0.
FLINK_ZOOKEEPER = "3.7.2-21.0"
POSTGRES_JDBC = "42.7.7"
POSTGRES_MAJOR = 17
TIMESCALEDB = "2.19.3"
DEBIAN_OF_POSTGRES = "trixie"
REDIS_MAJOR = 7
# Of the image: 7.4 is no free software any more.
REDIS_IMAGE = "7.2"
JAVA_MAJOR = 17
# Of the fault drills alone.
TOXIPROXY = "2.5.0"
APICURIO = "3.0.9"
PYTHON = "3.11"
# Of `make kube-test` alone; the API of Kubernetes is the newest that the chart is tested with.
KUBERNETES = "1.37.2"
HELM = "3.22.0"
KUBECONFORM = "0.8.0"
KWOK = "0.8.0"
# Definitions of resources of operators that the chart can make.
FLINK_OPERATOR_API = "1.10.0"
STRIMZI_API = "1.2.0"
PROMETHEUS_OPERATOR = "0.85.0"
