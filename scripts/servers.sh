# What scripts/e2e and scripts/bench have in common: sourced, not run. Installs on Debian and
# Ubuntu what their servers need; on other systems, install the same and they find nothing to do.

cache="${XDG_CACHE_HOME:-$HOME/.cache}/flow-exporter-e2e"
kafka_version=4.1.0

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Installs the packages of those programs that are missing: need PROGRAM=PACKAGE...
need() {
    local missing=() each
    for each in "$@"; do
        # Daemons live in sbin, where not everybody looks.
        PATH="$PATH:/usr/sbin:/sbin" command -v "${each%%=*}" >/dev/null || missing+=("${each#*=}")
    done
    if [ "${#missing[@]}" -eq 0 ]; then return; fi
    echo "installing ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}"
    # Debian starts what it installs; then all addresses have their usual ports taken.
    for each in prometheus victoria-metrics pmacctd; do
        if as_root service "$each" status >/dev/null 2>&1; then
            echo "stopping the service $each"
            as_root service "$each" stop
        fi
    done
}

# Fetches Kafka from Maven Central, once.
fetch_kafka() {
    local jars="$cache/kafka-$kafka_version" scratch
    if [ -d "$jars" ]; then return; fi
    echo "fetching Kafka $kafka_version"
    mkdir -p "$cache"
    # Complete or not there at all.
    scratch=$(mktemp -d "$cache/fetching.XXXXXX")
    cat >"$scratch/pom.xml" <<END
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>$kafka_version</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka-tools</artifactId>
      <version>$kafka_version</version>
    </dependency>
    <!-- Without a logger, Kafka doesn't say why it won't start. -->
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
END
    mvn -q -B -f "$scratch/pom.xml" dependency:copy-dependencies -DoutputDirectory="$scratch/jars"
    mv "$scratch/jars" "$jars"
    rm -r "$scratch"
}

# Runs a command in a process group of its own and ends all of the group with this script, so that
# no server outlives an interrupted run.
run_group() {
    set -m
    "$@" &
    group=$!
    set +m
    trap 'kill -KILL -- "-$group" 2>/dev/null || true' EXIT
    trap 'exit 130' INT TERM
    wait "$group"
}
