#!/bin/sh
# Makes the nodes of $NODES, each <name>:<port>, a Redis Cluster with one replica for each master, by redis-cli of
# Redis 7 or newer. If they are one already, its nodes learn where the others are now.
set -eu

addresses=""
first=""
for node in $NODES; do
  name=${node%:*} port=${node##*:}
  until redis-cli -h "$name" -p "$port" ping | grep -q PONG; do sleep 1; done
  # The nodes announce addresses to each other, not names.
  address=$(getent hosts "$name" | awk '{ print $1; exit }')
  addresses="$addresses $address:$port"
  first=${first:-$node}
done

cli() {
  redis-cli -h "${first%:*}" -p "${first##*:}" "$@"
}

if cli cluster info | grep -q 'cluster_slots_assigned:16384'; then
  for node in $addresses; do cli cluster meet "${node%:*}" "${node##*:}"; done
else
  # shellcheck disable=SC2086 -- one argument for each
  redis-cli --cluster create $addresses --cluster-replicas 1 --cluster-yes
fi

until cli cluster info | grep -q 'cluster_state:ok'; do sleep 1; done
echo "the cluster is ready"
