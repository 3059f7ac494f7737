#!/bin/sh
# Build the guest programs with Debian's cross compiler (package gcc-aarch64-linux-gnu). The results are committed, so
# this is only needed after a change of the sources. No path of the building machine gets into them: debug information
# names the sources relative to the project.
set -eu
cd "$(dirname "$0")"

CC=${CC:-aarch64-linux-gnu-gcc}
OBJCOPY=${OBJCOPY:-aarch64-linux-gnu-objcopy}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

headers=$($CC -print-file-name=include)
common="-g -gdwarf-4 -ffile-prefix-map=$PWD=tests/guests -ffile-prefix-map=$headers=include -Wall -Wextra -Werror -march=armv8-a"
c_flags="$common -std=gnu11 -Og -ffreestanding -fno-pic -fno-stack-protector -fno-asynchronous-unwind-tables
    -fno-common -mstrict-align -fno-tree-loop-distribute-patterns -Wmissing-prototypes"
link_flags="-nostdlib -static -no-pie -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments
    -Wl,--orphan-handling=place"

# compile DIRECTORY SOURCE [FLAG...]: an object file in DIRECTORY below the work directory
compile() {
    directory=$work/$1 source=$2
    shift 2
    mkdir -p "$directory"
    case $source in
    *.c) $CC $c_flags "$@" -c "$source" -o "$directory/$(basename "$source" .c).o" ;;
    *.S) $CC $common "$@" -c "$source" -o "$directory/$(basename "$source" .S).o" ;;
    esac
}

link() { # link DIRECTORY SCRIPT OUTPUT
    $CC $link_flags -Wl,-T,"$2" "$work/$1"/*.o -o "$3"
    chmod 644 "$3"
}

build_two_guests() {
    for guest in a b; do
        for source in lib/print.c lib/memory.c lib/tables.c two_guests/guest/start.S two_guests/guest/kernel.c \
            two_guests/guest/guest_$guest.c; do
            compile guest_$guest $source -mgeneral-regs-only
        done
        compile guest_$guest two_guests/guest/user_$guest.c
        link guest_$guest two_guests/guest/guest.ld two_guests/guest_$guest.elf
        $OBJCOPY -O binary two_guests/guest_$guest.elf "$work/guest_$guest.bin"
    done
    for source in lib/start.S lib/print.c lib/pl011.c lib/memory.c lib/tables.c lib/gic.c two_guests/hyp.c \
        two_guests/exits.c two_guests/interrupts.c two_guests/world.c two_guests/switch.S; do
        compile hyp $source -mgeneral-regs-only
    done
    compile hyp two_guests/images.S -Wa,-I,"$work"
    link hyp lib/machine.ld two_guests/two_guests.elf
}

build_smp() {
    for source in lib/start.S lib/print.c lib/pl011.c lib/memory.c lib/tables.c lib/gic.c smp/smp.c repeat/entry.S; do
        compile smp $source -mgeneral-regs-only
    done
    link smp lib/machine.ld smp/smp.elf
}

build_repeat() {
    for source in lib/start.S lib/print.c lib/pl011.c lib/memory.c lib/tables.c lib/gic.c repeat/repeat.c repeat/entry.S; do
        compile repeat $source -mgeneral-regs-only
    done
    link repeat lib/machine.ld repeat/repeat.elf
}

build_semihosting() {
    for source in lib/start.S lib/print.c lib/memory.c semihosting/semihosting.c; do
        compile semihosting $source -mgeneral-regs-only
    done
    link semihosting lib/machine.ld semihosting/semihosting.elf
}

build_two_guests
build_semihosting
build_repeat
build_smp
if [ -d bare ] && ls bare/*.c >/dev/null 2>&1; then
    . ./bare/build.inc
fi
