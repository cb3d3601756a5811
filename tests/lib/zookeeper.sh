#!/usr/bin/env bash
# A ZooKeeper server for tests, in the foreground: zookeeper.sh PORT FOLDER [HOST]. It listens on HOST:PORT (127.0.0.1) and keeps its data in FOLDER.
# The jars are those that Kafka 3.9.2 comes with (tests/lib/kafka.sh). Exits with 77 and the reason on stdout where it cannot run.
port=$1 folder=$2 host=${3:-127.0.0.1}
. "$(dirname "$0")/kafka.sh"
command -v java >/dev/null || { echo "java is not installed"; exit 77; }
home=$(kafka_home 3.9.2 2>&1) || { echo "no jars: $home"; exit 77; }
mkdir -p "$folder" || exit 1
cat >"$folder/zoo.cfg" <<CFG
tickTime=500
dataDir=$folder/data
clientPort=$port
clientPortAddress=$host
admin.enableServer=false
maxClientCnxns=0
minSessionTimeout=1000
maxSessionTimeout=60000
CFG
exec setpriv --pdeathsig KILL java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dzookeeper.jmx.log4j.disable=true -cp "$home/*" \
  org.apache.zookeeper.server.ZooKeeperServerMain "$folder/zoo.cfg" >"$folder/log" 2>&1
