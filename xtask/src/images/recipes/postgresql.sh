# PostgreSQL with a shell, without its just-in-time compiler (170 MB) and without Debian's scripts in Perl.
rm -rf usr/lib/*/libLLVM* usr/lib/*/libz3* usr/lib/postgresql/*/lib/llvmjit* usr/lib/postgresql/*/lib/bitcode \
    usr/share/postgresql-common usr/share/postgresql/*/man usr/include
find usr/bin usr/sbin -type f -exec grep -lI '^#! */usr/bin/perl' {} + | xargs -r rm -f
rm -f usr/bin/perl*
[ -e usr/bin/sh ] || ln -s dash usr/bin/sh
for program in usr/lib/postgresql/*/bin/*; do
    ln -sf "../../$program" "usr/bin/${program##*/}"
done
mkdir -p var/lib/postgresql
chown 10001:10001 var/lib/postgresql
