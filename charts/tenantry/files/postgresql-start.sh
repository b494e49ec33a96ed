#!/bin/sh
# Starts the trial server: makes its data directory the first time, brings the admin login in line with its Secret, and
# becomes postgres. Killed at any point, the next start carries on.
set -eu
bin=/usr/lib/postgresql/17/bin
data=/var/lib/postgresql/17
admin=/etc/tenantry/admin

if [ ! -s "$data/PG_VERSION" ]; then
    rm -rf "$data.new"
    "$bin/initdb" --pgdata="$data.new" --username=postgres --encoding=UTF8 --locale=C.UTF-8 \
        --auth-local=peer --auth-host=scram-sha-256
    mv "$data.new" "$data"
fi

# On the socket alone, so that nobody is served before the login is right.
setting_up="-c listen_addresses= -c unix_socket_directories=/tmp -c hba_file=/etc/tenantry/postgresql/pg_hba.conf"
"$bin/pg_ctl" start --wait --timeout=600 --silent --pgdata="$data" --options="$setting_up"
"$bin/psql" --host=/tmp --username=postgres --dbname=postgres --no-psqlrc --quiet --set=ON_ERROR_STOP=1 \
    --set=username="$(cat "$admin/username")" <<'SQL'
SET client_min_messages = warning;
\set password `cat /etc/tenantry/admin/password`
SELECT format('CREATE ROLE %I', :'username')
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'username') \gexec
ALTER ROLE :"username" LOGIN CREATEDB CREATEROLE NOSUPERUSER NOREPLICATION NOBYPASSRLS PASSWORD :'password';
GRANT pg_signal_backend TO :"username";
-- So that the operator can take PUBLIC's right to connect to these two: nobody but the owner may.
ALTER DATABASE postgres OWNER TO :"username";
ALTER DATABASE template1 OWNER TO :"username";
SQL
"$bin/pg_ctl" stop --wait --mode=fast --silent --pgdata="$data"

exec "$bin/postgres" -D "$data" \
    -c listen_addresses='*' \
    -c unix_socket_directories=/tmp \
    -c hba_file=/etc/tenantry/postgresql/pg_hba.conf \
    -c max_connections="$MAX_CONNECTIONS"
