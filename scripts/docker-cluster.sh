#!/usr/bin/env bash
# A cluster of containers: nodes behind HAProxy on a network of their own.
#
# usage: docker-cluster.sh start [--nodes N] [--build]    build what is missing, start, wait until all are ready
#        docker-cluster.sh stop [--volumes]               stop and remove; --volumes: the state of the nodes too
#        docker-cluster.sh restart [--nodes N] [--build]
#        docker-cluster.sh logs [NODE] [--follow] [--save]   --save: into logs/cluster/docker-nodeN.log
#        docker-cluster.sh status
#
#   ERLMCP_NODES=4                    how many nodes (1 to 64); --nodes goes before it
#   ERLMCP_PUBLISH=127.0.0.1          address of this host where the ports are open; anything else is reachable from outside
#   ERLMCP_PROXY_PORT=8000            MCP through HAProxy ...
#   ERLMCP_HTTP_PORT=8080             ... and the same again, so that the guide's commands hold
#   ERLMCP_STATS_PORT=9001            HAProxy's statistics, /stats
#   ERLMCP_SUBNET=172.25.0.0/24       network of the containers, a /24: node N is .N+1, HAProxy .10
#   ERLMCP_PROJECT=erlmcp             prefix of container names
#   ERLMCP_CONFIG=                    a cluster.toml for all nodes, for instance with [[upstream]]
#   ERLMCP_ALLOWED_HOSTS=             further names in Host headers, comma separated
#   ERLMCP_MEMORY=1g                  memory of one node
#   ERLMCP_NOFILE=20000               open files of one node; less if the engine allows less
#   ERLMCP_BASE_IMAGE=scratch         what the image of a node stands on, for instance python:3.12-slim
#   ERLMCP_HAPROXY_IMAGE=haproxy:2.6  pulled if it is missing; without a registry: docker-bases.sh makes it
#   ERLMCP_BIN=                       a binary for the image; without, one is built (release)
#   ERLMCP_DATA_DIR=data              state in docker/clusterN below it, with what was generated
#   ERLMCP_START_TIMEOUT_S=120        how long forming may take
#
# Exit codes: 0 done; 1 failed; 2 wrong usage; 3 (status) not all runs and is ready.
set -euo pipefail

script=$(readlink -f "${BASH_SOURCE[0]}")
root=$(dirname "$(dirname "$script")")
templates=$root/scripts/docker

usage() { sed -n '2,30p' "$script" | sed 's/^# \{0,1\}//'; }
say() { printf '%s\n' "$*"; }
warn() { printf 'docker-cluster: %s\n' "$*" >&2; }
die() {
    warn "$1"
    exit "${2:-1}"
}
number() {
    if ! [[ $1 =~ ^[0-9]{1,7}$ ]] || ((10#$1 < $2 || 10#$1 > $3)); then
        die "$4 is \"$1\"; it must be a whole number between $2 and $3" 2
    fi
}

verb=${1:-}
(($# == 0)) || shift
nodes=${ERLMCP_NODES:-4} build='' volumes='' save='' follow='' which=''
while (($#)); do
    case $verb:$1 in
        start:--nodes | restart:--nodes)
            nodes=${2:-}
            shift
            ;;
        start:--build | restart:--build) build=1 ;;
        stop:--volumes) volumes=1 ;;
        logs:--save) save=1 ;;
        logs:--follow) follow=1 ;;
        logs:[0-9]*) which=$1 ;;
        *:-h | *:--help) verb=help ;;
        *)
            usage >&2
            die "unknown: $verb $1" 2
            ;;
    esac
    shift || true
done
number "$nodes" 1 64 "the number of nodes"
number "${ERLMCP_PROXY_PORT:=8000}" 1 65535 ERLMCP_PROXY_PORT
number "${ERLMCP_HTTP_PORT:=8080}" 1 65535 ERLMCP_HTTP_PORT
number "${ERLMCP_STATS_PORT:=9001}" 1 65535 ERLMCP_STATS_PORT
number "${ERLMCP_START_TIMEOUT_S:=120}" 1 3600 ERLMCP_START_TIMEOUT_S
number "${ERLMCP_NOFILE:=20000}" 1024 1048576 ERLMCP_NOFILE
subnet=${ERLMCP_SUBNET:-172.25.0.0/24}
[[ $subnet =~ ^([0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3})\.0/24$ ]] || die "ERLMCP_SUBNET is \"$subnet\"; it must be a /24 such as 172.25.0.0/24" 2
prefix=${BASH_REMATCH[1]}
project=${ERLMCP_PROJECT:-erlmcp}
[[ $project =~ ^[a-z0-9][a-z0-9_-]{0,40}$ ]] || die "ERLMCP_PROJECT is \"$project\"; lower case letters, digits, - and _" 2
publish=${ERLMCP_PUBLISH:-127.0.0.1}
image=$project-node:local
base=${ERLMCP_BASE_IMAGE:-scratch}
haproxy=${ERLMCP_HAPROXY_IMAGE:-haproxy:2.6}
data=${ERLMCP_DATA_DIR:-data}
[[ $data == /* ]] || data=$root/$data
data=$data/docker
# The nodes run as who owns their state, but never as root.
user=$(id -u):$(id -g)
[[ $user != 0:* ]] || user=10001:10001

address_of() { if (($1 < 9)); then printf '%s.%s' "$prefix" $(($1 + 1)); else printf '%s.%s' "$prefix" $(($1 + 2)); fi; }
container() { printf '%s-node%s' "$project" "$1"; }

need_engine() {
    command -v docker >/dev/null || die "docker is missing: install Docker Engine (https://docs.docker.com/engine/install/)"
    local said
    said=$(docker version --format '{{.Server.Os}}' 2>&1) || die "the Docker engine does not answer: ${said##*$'\n'}
    is it running, and may $(id -un) use it?  sudo systemctl start docker; sudo usermod -aG docker $(id -un)"
    if docker compose version >/dev/null 2>&1; then
        compose=(docker compose)
    elif command -v docker-compose >/dev/null; then
        compose=(docker-compose)
    else
        die "neither the compose plugin (docker compose) nor docker-compose is there: install docker-compose-plugin"
    fi
    compose+=(--project-name "$project" --project-directory "$data" --file "$data/docker-compose.yml")
}

# The state of container $1 in one word: running, exited, missing ...
state_of() { docker inspect --format '{{.State.Status}}' "$1" 2>/dev/null || printf missing; }

# Containers of this name that another checkout has started are not ours to replace.
need_own() {
    local theirs
    theirs=$(docker ps --all --filter "label=erlmcp.data" --filter "name=^$project-node[0-9]+\$" --format '{{.Label "erlmcp.data"}}' | sort -u | grep -vxF "$data" | head -n 1) || return 0
    die "the containers $project-node... have their state in $theirs, not in $data: name that directory by ERLMCP_DATA_DIR
    (without /docker), or choose other names by ERLMCP_PROJECT, and other ports and addresses with them"
}

# Ports and addresses that somebody else has, before anything is made.
need_place() {
    local port holder network theirs
    if [[ $(state_of "$project-haproxy") != running ]]; then
        for port in "$ERLMCP_PROXY_PORT" "$ERLMCP_HTTP_PORT" "$ERLMCP_STATS_PORT"; do
            holder=$(docker ps --filter "publish=$port" --format 'container {{.Names}}' | head -n 1)
            if [[ -z $holder ]] && command -v ss >/dev/null; then
                holder=$(ss -ltnpH "sport = :$port" | sed -n '1s/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/\1 (pid \2)/p; 1s/^LISTEN.*/another process/p' | head -n 1)
            elif [[ -z $holder ]] && (: <"/dev/tcp/$publish/$port") 2>/dev/null; then
                holder="another process"
            fi
            [[ -z $holder ]] || die "port $port is taken by $holder: stop it (start-cluster.sh stop for a local cluster, docker-cluster.sh stop for
    one of containers), or choose others by ERLMCP_PROXY_PORT, ERLMCP_HTTP_PORT and ERLMCP_STATS_PORT"
        done
    fi
    while read -r network; do
        theirs=$(docker network inspect --format '{{range .IPAM.Config}}{{.Subnet}} {{end}}' "$network")
        if [[ $network != "${project}_net" && " $theirs" == *" $prefix."* ]]; then
            die "the network $subnet is taken by the Docker network $network ($theirs): remove that one, or choose
    another by ERLMCP_SUBNET, such as ERLMCP_SUBNET=172.26.0.0/24"
        fi
    done < <(docker network ls --filter driver=bridge --format '{{.Name}}')
}

find_binary() {
    bin=${ERLMCP_BIN:-}
    if [[ -z $bin ]]; then
        [[ $(uname -s) == Linux ]] || die "a node is built on Linux; name a Linux binary by ERLMCP_BIN"
        command -v cargo >/dev/null || die "cargo is missing: install Rust (https://rustup.rs) or set ERLMCP_BIN"
        say "building (cargo build --release) ..."
        (cd "$root" && cargo build --release --quiet --bin erlmcp-node) || die "the build failed"
        bin=${CARGO_TARGET_DIR:-$root/target}/release/erlmcp-node
    fi
    [[ -x $bin ]] || die "ERLMCP_BIN=$bin cannot be run"
}

# The program, and FROM scratch also its loader and libraries; names are resolved by libc itself.
fill_rootfs() {
    local into=$1 lib
    install -D -m 755 "$bin" "$into/usr/local/bin/erlmcp-node"
    if command -v strip >/dev/null; then strip "$into/usr/local/bin/erlmcp-node"; fi
    [[ $base == scratch ]] || return 0
    while read -r lib; do
        install -D -m 755 "$lib" "$into$lib"
    done < <(ldd "$bin" | grep -oE '/[^ ]+' | sort -u)
    mkdir -p "$into/etc"
    printf 'hosts: files dns\n' >"$into/etc/nsswitch.conf"
    printf 'erlmcp:x:10001:10001::/:/\n' >"$into/etc/passwd"
    printf 'erlmcp:x:10001:\n' >"$into/etc/group"
}

make_images() {
    if [[ -n $build ]] || ! docker image inspect "$image" >/dev/null 2>&1; then
        find_binary
        local context
        context=$(mktemp -d)
        fill_rootfs "$context/rootfs"
        cp "$templates/Dockerfile.cluster" "$context/"
        say "building the image $image on $base ..."
        docker build --quiet --build-arg "BASE=$base" --file "$context/Dockerfile.cluster" --tag "$image" "$context" >"$context.log" 2>&1 || {
            cat "$context.log" >&2
            rm -rf "$context" "$context.log"
            die "the image cannot be built"
        }
        rm -rf "$context" "$context.log"
    fi
    if ! docker image inspect "$haproxy" >/dev/null 2>&1; then
        say "pulling $haproxy ..."
        docker pull --quiet "$haproxy" >/dev/null || die "$haproxy cannot be pulled; without a registry make it here:
    sudo scripts/docker-bases.sh          or name another by ERLMCP_HAPROXY_IMAGE"
    fi
}

# Open files as asked, or as many as the engine gives.
probe_files() {
    local said
    nofile=$ERLMCP_NOFILE
    while ! said=$(docker run --rm --network none --ulimit "nofile=$nofile:$nofile" "$image" --version 2>&1); do
        if [[ $said != *rlimit* && $said != *ulimit* ]] || ((nofile <= 1024)); then
            die "a container of $image does not run: ${said##*$'\n'}"
        fi
        nofile=$((nofile / 2 > 1024 ? nofile / 2 : 1024))
    done
    ((nofile == ERLMCP_NOFILE)) || warn "the engine allows $nofile open files a container, not $ERLMCP_NOFILE"
}

# Writes standard input to $1 if it differs, so that a second start changes nothing. In place: a container
# sees the file that it was started with.
put() {
    local text
    text=$(cat)
    [[ -f $1 && $(<"$1") == "$text" ]] || printf '%s\n' "$text" >"$1"
}

make_files() {
    mkdir -p "$data"
    local n servers='' uses=''
    if [[ ! -s $data/cluster.secret ]]; then
        # A wiped state with a kept secret is mended by the group; a new secret beside a kept state never works.
        for n in "$data"/cluster[0-9]*/identity.json; do
            [[ ! -e $n ]] || die "$data/cluster.secret is missing, but $n is of its cluster: put it back, or begin anew: $script stop --volumes"
        done
        (umask 077 && od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n' >"$data/cluster.secret.new")
        mv "$data/cluster.secret.new" "$data/cluster.secret"
    fi
    for ((n = 1; n <= nodes; n++)); do
        mkdir -p -m 700 "$data/cluster$n"
        uses+="    use-server n$n if { req.hdr(mcp-session-id) -m beg $n. }"$'\n'
        servers+="    server n$n $(address_of "$n"):8080 check maxconn $((nofile / 2))"$'\n'
        if ((n == 1)); then list=1=node1:9200; else list+=,$n=node$n:9200; fi
    done
    if (($(id -u) == 0)); then chown -R "$user" "$data/cluster.secret" "$data"/cluster[0-9]*; fi
    local text
    text=$(<"$templates/haproxy.cfg")
    text=${text//@PROJECT@/$project}
    text=${text//@MAXCONN@/$((nofile / 2 - 100))}
    text=${text//@USE_SERVERS@/${uses%$'\n'}}
    local before
    before=$(cat "$data/haproxy.cfg" 2>/dev/null || true)
    put "$data/haproxy.cfg" <<<"${text//@SERVERS@/${servers%$'\n'}}"
    chmod 644 "$data/haproxy.cfg"
    reload=''
    if [[ $before != "$(<"$data/haproxy.cfg")" && $(state_of "$project-haproxy") == running ]]; then reload=1; fi
    compose_file | put "$data/docker-compose.yml"
}

compose_file() {
    local n hosts="haproxy,$prefix.10${ERLMCP_ALLOWED_HOSTS:+,$ERLMCP_ALLOWED_HOSTS}" config='' mount=''
    for ((n = 1; n <= nodes; n++)); do hosts+=",node$n,$(address_of "$n")"; done
    if [[ -n ${ERLMCP_CONFIG:-} ]]; then
        [[ -f $ERLMCP_CONFIG ]] || die "ERLMCP_CONFIG=$ERLMCP_CONFIG is no file"
        config=$'\n'"  ERLMCP_CONFIG: /etc/erlmcp/cluster.toml"
        mount=$'\n'"      - $(readlink -f "$ERLMCP_CONFIG"):/etc/erlmcp/cluster.toml:ro"
    fi
    cat <<YAML
# Made by scripts/docker-cluster.sh; changes here are lost at its next start.
x-environment: &environment
  ERLMCP_CLUSTER_NAME: "$project"
  ERLMCP_CLUSTER_NODES: "$list"
  ERLMCP_CLUSTER_NODES_EXPECTED: "$nodes"
  ERLMCP_CLUSTER_DATA_DIR: /var/lib/erlmcp
  ERLMCP_CLUSTER_SECRET_FILE: /run/erlmcp/cluster.secret
  ERLMCP_PEER_LISTEN: 0.0.0.0:9200
  ERLMCP_HTTP_LISTEN: 0.0.0.0:8080
  ERLMCP_HTTP_ALLOWED_HOSTS: "$hosts"
  ERLMCP_HTTP_TRUSTED_PROXIES: "$prefix.10"
  # The network is the containers' own; what is published is said in ports below.
  ERLMCP_CONNECTIONS_INSECURE: "true"
  ERLMCP_TELEMETRY_FORMAT: json
  # Orders by docker exec go to the node itself.
  ERLMCP_URL: http://127.0.0.1:8080$config

x-node: &node
  image: $image
  labels: {erlmcp.data: "$data"}
  command: ["start", "--init"]
  user: "$user"
  read_only: true
  tmpfs: [/tmp]
  cap_drop: [ALL]
  security_opt: ["no-new-privileges:true"]
  # Reaps what children of upstreams leave behind.
  init: true
  restart: unless-stopped
  # More than drain.notice_ms and drain.timeout_ms together.
  stop_grace_period: 30s
  mem_limit: ${ERLMCP_MEMORY:-1g}
  ulimits:
    nofile: {soft: $nofile, hard: $nofile}
  logging: &logging
    driver: json-file
    options: {max-size: 10m, max-file: "3"}
  healthcheck:
    test: ["CMD", "/usr/local/bin/erlmcp-node", "healthcheck"]
    interval: 5s
    timeout: 3s
    retries: 3
    start_period: 30s

services:
YAML
    for ((n = 1; n <= nodes; n++)); do
        cat <<YAML
  node$n:
    <<: *node
    container_name: $(container "$n")
    hostname: node$n
    environment:
      <<: *environment
      ERLMCP_NODE_ID: "$n"
      ERLMCP_ADMIN_TOKEN_FILE: /var/lib/erlmcp/cluster$n/admin.token
    volumes:
      - $data/cluster$n:/var/lib/erlmcp/cluster$n
      - $data/cluster.secret:/run/erlmcp/cluster.secret:ro$mount
    networks:
      net: {ipv4_address: $(address_of "$n")}
YAML
    done
    cat <<YAML
  haproxy:
    image: $haproxy
    container_name: $project-haproxy
    command: ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
    user: "$user"
    read_only: true
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    restart: unless-stopped
    stop_signal: SIGUSR1
    stop_grace_period: 5s
    mem_limit: 512m
    ulimits:
      nofile: {soft: $nofile, hard: $nofile}
    logging: *logging
    ports:
      - "$publish:$ERLMCP_PROXY_PORT:8000"
      - "$publish:$ERLMCP_HTTP_PORT:8080"
      - "$publish:$ERLMCP_STATS_PORT:9001"
    volumes:
      - $data/haproxy.cfg:/usr/local/etc/haproxy/haproxy.cfg:ro
    networks:
      net: {ipv4_address: $prefix.10}

networks:
  net:
    name: ${project}_net
    ipam:
      config: [{subnet: $subnet}]
YAML
}

cli() {
    local name=$1
    shift
    docker exec "$name" /usr/local/bin/erlmcp-node "$@"
}

# What node $1 says of itself in one word: ready, drained, waiting, or the state of a container that does not run.
word_of() {
    local name status state drained='"not_ready_because":[[:space:]]*\["draining'
    name=$(container "$1")
    state=$(state_of "$name")
    if [[ $state != running ]]; then
        printf '%s' "$state"
    elif ! status=$(cli "$name" status --json 2>/dev/null | tr -d ' \n'); then
        printf starting
    elif [[ $status != *'"formation":"formed"'* && -z ${growing:-} ]]; then
        printf waiting
    elif [[ $status == *'"ready":true'* ]]; then
        printf ready
    elif [[ $status =~ $drained ]]; then
        printf drained
    else
        printf waiting
    fi
}

last_lines() {
    warn "the last lines of $1:"
    docker logs --tail 15 "$1" 2>&1 | sed 's/^/    /' >&2 || true
}

# Waits until the nodes $@ are ready (or drained, as an operator wished).
wait_ready() {
    local deadline=$((SECONDS + ERLMCP_START_TIMEOUT_S)) waiting=("$@") next n word said=''
    while ((${#waiting[@]})); do
        next=()
        for n in "${waiting[@]}"; do
            word=$(word_of "$n")
            case $word in
                ready | drained) ;;
                exited | dead | restarting | missing)
                    last_lines "$(container "$n")"
                    die "node $n does not run ($word)"
                    ;;
                *) next+=("$n") ;;
            esac
        done
        waiting=("${next[@]+"${next[@]}"}")
        ((${#waiting[@]})) || break
        if ((SECONDS > deadline)); then
            last_lines "$(container "${waiting[0]}")"
            die "not formed and ready within $ERLMCP_START_TIMEOUT_S s: node ${waiting[*]}"
        fi
        if [[ $said != "${waiting[*]}" ]]; then
            said=${waiting[*]}
            say "  waiting for node $said"
        fi
        sleep 0.2
    done
}

# One after the other where some run already, so that clients are served throughout.
start_nodes() {
    local n running='' before growing=''
    mapfile -t all < <(seq 1 "$nodes")
    for ((n = 1; n <= nodes; n++)); do
        if [[ $(state_of "$(container "$n")") == running ]]; then running=1; fi
    done
    if [[ -z $running ]]; then
        "${compose[@]}" up --detach --remove-orphans 2>"$data/compose.log" || compose_failed
        wait_ready "${all[@]}"
        return
    fi
    # Those that are yet to come are missing until then.
    growing=1
    for ((n = 1; n <= nodes; n++)); do
        before=$(docker inspect --format '{{.Id}} {{.State.StartedAt}}' "$(container "$n")" 2>/dev/null || true)
        "${compose[@]}" up --detach --no-deps "node$n" 2>"$data/compose.log" || compose_failed
        if [[ $before != "$(docker inspect --format '{{.Id}} {{.State.StartedAt}}' "$(container "$n")")" ]]; then
            say "  node $n is replaced"
        fi
        wait_ready "$n"
    done
    "${compose[@]}" up --detach --no-deps haproxy 2>"$data/compose.log" || compose_failed
    growing=''
    wait_ready "${all[@]}"
    for n in $(known); do
        if ((${n##*-node} > nodes)); then say "  $n is beyond --nodes $nodes and goes on; docs/docker.md says how to remove it"; fi
    done
}

compose_failed() {
    sed 's/^/    /' "$data/compose.log" >&2
    die "the containers do not start; what runs is shown by $script status, removed by $script stop"
}

wait_proxy() {
    local deadline=$((SECONDS + 30)) host=$publish
    [[ $host != 0.0.0.0 ]] || host=127.0.0.1
    until answers "$host" "$ERLMCP_HTTP_PORT"; do
        if [[ $(state_of "$project-haproxy") != running ]] || ((SECONDS > deadline)); then
            last_lines "$project-haproxy"
            die "HAProxy does not answer on $host:$ERLMCP_HTTP_PORT"
        fi
        sleep 0.2
    done
}

# Whether a ready node is reached through $1:$2.
answers() {
    local line=''
    { exec 8<>"/dev/tcp/$1/$2"; } 2>/dev/null || return 1
    printf 'GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&8 2>/dev/null || true
    read -r -t 5 line <&8 || true
    exec 8<&-
    [[ $line == *' 200 '* ]]
}

start() {
    need_engine
    need_own
    need_place
    lock
    make_images
    probe_files
    make_files
    if [[ $publish != 127.* && $publish != localhost ]]; then
        warn "the cluster is reachable at $publish without TLS and without credentials: put a gateway or a firewall before it"
    fi
    local began=${EPOCHREALTIME/[.,]/}
    start_nodes
    if [[ -n $reload ]]; then docker kill --signal USR2 "$project-haproxy" >/dev/null; fi
    wait_proxy
    say "$nodes nodes formed and ready behind HAProxy after $(((${EPOCHREALTIME/[.,]/} - began) / 1000)) ms"
    say
    cli "$(container 1)" status
    say
    say "next:"
    say "  curl http://127.0.0.1:$ERLMCP_HTTP_PORT/cluster/status"
    say "  MCP clients:  http://127.0.0.1:$ERLMCP_PROXY_PORT/mcp     statistics: http://127.0.0.1:$ERLMCP_STATS_PORT/stats"
    say "  docker exec $(container 1) erlmcp-node status --watch"
    say "  $script stop"
}

# One start or stop at a time.
lock() {
    mkdir -p "$data"
    exec 9>"$data/.lock"
    if command -v flock >/dev/null && ! flock --nonblock 9; then
        die "another start or stop is under way in $data"
    fi
}

stop() {
    need_engine
    need_own
    lock
    if [[ -f $data/docker-compose.yml ]]; then
        say "stopping ..."
        "${compose[@]}" down --remove-orphans 2>"$data/compose.log" || compose_failed
    fi
    if [[ -n $volumes ]]; then
        rm -rf "$data"
        say "stopped; the state of the nodes is removed"
    else
        say "stopped; the state of the nodes is kept in $data (start takes it up, stop --volumes removes it)"
    fi
}

# Names of the nodes' containers, by number.
known() {
    docker ps --all --filter "label=com.docker.compose.project=$project" --format '{{.Names}}' | grep -E -- '-node[0-9]+$' | sort -t e -k 3 -V
}

status() {
    need_engine
    local name n word missing=0 answering='' address memory
    mapfile -t found < <(known)
    if ((${#found[@]} == 0)); then
        say "no container of $project runs; start them: $script start"
        exit 3
    fi
    for name in "${found[@]}"; do
        n=${name##*-node}
        word=$(word_of "$n")
        [[ $word == ready || $word == drained ]] || missing=1
        case $word in ready | drained | waiting) answering=${answering:-$name} ;; esac
        address=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' "$name")
        memory=$(docker stats --no-stream --format '{{.MemUsage}}' "$name" 2>/dev/null || printf -)
        say "$(printf '%-18s %-9s %-14s memory %s' "$name" "$word" "${address%% *}" "$memory")"
    done
    word=$(state_of "$project-haproxy")
    [[ $word == running ]] || missing=1
    say "$(printf '%-18s %-9s %-14s MCP on %s, statistics on %s' "$project-haproxy" "$word" "$prefix.10" "$ERLMCP_PROXY_PORT, $ERLMCP_HTTP_PORT" "$ERLMCP_STATS_PORT")"
    if [[ -n $answering ]]; then
        say
        cli "$answering" status
    fi
    ((missing == 0)) || exit 3
}

logs() {
    need_engine
    local name n
    mapfile -t found < <(known)
    ((${#found[@]})) || die "no container of $project is there"
    if [[ -n $which ]]; then found=("$(container "$which")"); fi
    [[ $(state_of "${found[0]}") != missing ]] || die "there is no container ${found[0]}; there are: $(known | tr '\n' ' ')"
    if [[ -n $save ]]; then
        mkdir -p "$root/logs/cluster"
        for name in "${found[@]}"; do
            n=${name##*-node}
            docker logs --timestamps "$name" >"$root/logs/cluster/docker-node$n.log" 2>&1
            say "logs/cluster/docker-node$n.log"
        done
    elif [[ -n $which ]]; then
        # Nodes log on standard error, which is what is asked for here.
        exec docker logs ${follow:+--follow} "${found[0]}" 2>&1
    else
        exec "${compose[@]}" logs ${follow:+--follow}
    fi
}

case $verb in
    start) start ;;
    stop) stop ;;
    restart)
        stop
        exec 9>&-
        start
        ;;
    logs) logs ;;
    status) status ;;
    help | -h | --help) usage ;;
    *)
        usage >&2
        exit 2
        ;;
esac
