# Runs after the packages of an image were unpacked, with the image's root directory as $1. What every image shares.
set -eu
export LC_ALL=C
umask 022
cd "$1"

# What package management needs, what describes itself, and what comes from the machine that builds.
rm -rf boot home tmp/* etc/apt etc/dpkg etc/fstab etc/hostname etc/resolv.conf var/cache var/lib/apt var/lib/dpkg \
    var/log
# What a whole system has: services, logins, schedules.
rm -rf etc/*.conf etc/cron* etc/default etc/init.d etc/logrotate.d etc/pam.d etc/rc*.d etc/security etc/selinux \
    etc/systemd usr/lib/systemd usr/lib/tmpfiles.d usr/lib/sysusers.d usr/lib/*/security usr/lib/*/engines-3 \
    usr/lib/*/ossl-modules
rm -rf usr/share/bash-completion usr/share/debconf usr/share/i18n usr/share/info usr/share/lintian usr/share/locale \
    usr/share/man usr/share/perl5 usr/share/perl usr/share/bug usr/share/doc-base usr/share/gcc usr/share/gdb \
    usr/lib/*/gconv usr/lib/*/perl usr/lib/*/perl5 usr/lib/*/perl-base usr/lib/*/libperl*
find usr/share/doc -type f ! -name copyright -delete
find usr/share/doc -type l ! -name copyright -delete
find usr/share/doc -depth -type d -empty -delete

for directory in bin lib lib64 sbin; do
    mkdir -p "usr/$directory"
    [ -e "$directory" ] || ln -s "usr/$directory" "$directory"
done
mkdir -p dev etc proc run sys tmp var/lib
chmod 1777 tmp
cat > etc/passwd <<'ACCOUNTS'
root:x:0:0:root:/root:/usr/sbin/nologin
postgres:x:10001:10001:PostgreSQL:/var/lib/postgresql:/bin/sh
valkey:x:10002:10002:Valkey:/var/lib/valkey:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
nonroot:x:65532:65532:nonroot:/:/usr/sbin/nologin
ACCOUNTS
cut -d: -f1,4 etc/passwd | sed 's/:/:x:/; s/$/:/' > etc/group
echo 'hosts: files dns' > etc/nsswitch.conf
