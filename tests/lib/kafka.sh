# Apache Kafka for tests and benchmarks, brought by Maven once into a cache folder of the user. Source it:
#   kafka_home VERSION            prints the folder with the jars
#   kafka_run VERSION CLASS ...   runs a main class of Kafka (its tools and the server)

kafka_home() {
  local version=$1 home="${XDG_CACHE_HOME:-$HOME/.cache}/odradek/kafka-$1" lines="" artifact
  if [ -f "$home/.ready" ]; then
    echo "$home"
    return 0
  fi
  command -v mvn >/dev/null || { echo "mvn is not installed" >&2; return 1; }
  mkdir -p "$home" || return 1
  (
    flock 9
    [ -f "$home/.ready" ] && exit 0
    for artifact in kafka_2.13 kafka-tools kafka-clients; do
      lines+="<dependency><groupId>org.apache.kafka</groupId><artifactId>$artifact</artifactId><version>$version</version></dependency>"
    done
    case $version in
      # Kafka up to 3.x logs through log4j 1, later versions through log4j 2.
      [0-3].*) lines+="<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-reload4j</artifactId><version>1.7.36</version></dependency>" ;;
      *) for artifact in log4j-core log4j-slf4j-impl log4j-1.2-api; do
           lines+="<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>$artifact</artifactId><version>2.24.3</version></dependency>"
         done ;;
    esac
    cat >"$home/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>odradek</groupId>
<artifactId>kafka-for-tests</artifactId><version>1</version><packaging>pom</packaging><dependencies>$lines</dependencies></project>
POM
    mvn -q -B -f "$home/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$home" >"$home/maven.log" 2>&1 || {
      tail -3 "$home/maven.log" >&2
      exit 1
    }
    touch "$home/.ready"
  ) 9>"$home/.lock" || return 1
  echo "$home"
}

kafka_run() {
  local home
  home=$(kafka_home "$1") || return 1
  shift
  java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$home/*" "$@"
}
