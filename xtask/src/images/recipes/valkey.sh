# Valkey alone: no shell, no scripts.
find usr/bin usr/sbin -mindepth 1 ! -name 'valkey-*' -delete
rm -rf etc/valkey
mkdir -p var/lib/valkey
chown 10002:10002 var/lib/valkey
