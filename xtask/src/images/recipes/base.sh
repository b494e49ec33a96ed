# The base of every binary: the C library, certificates of public authorities, time zones.
mkdir -p etc/ssl/certs
cat usr/share/ca-certificates/mozilla/*.crt > etc/ssl/certs/ca-certificates.crt
rm -rf usr/bin usr/sbin usr/share/ca-certificates usr/lib/ssl usr/lib/systemd usr/lib/*/libcrypto* usr/lib/*/libssl* \
    etc/ssl/openssl.cnf etc/ssl/private
mkdir -p usr/bin usr/sbin
