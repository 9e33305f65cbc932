#!/bin/sh
# Run by mmdebstrap in the new system's namespace, $1 = its root. Makes it bootable and neutral: nothing of the machine
# that built it, no key or identity that two VMs would share.
set -eu
root=$1
echo debian >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 debian\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
printf 'LABEL=gp-root / ext4 defaults,errors=remount-ro 0 1\nLABEL=ESP /boot/efi vfat umask=0077,nofail 0 2\n' >"$root/etc/fstab"
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
: >"$root/etc/machine-id"
rm -f "$root"/etc/ssh/ssh_host_*

# Interfaces without a configuration of cloud-init's ask DHCP; a boot does not wait long for a network that is not there.
mkdir -p "$root/etc/systemd/network" "$root/etc/systemd/system/systemd-networkd-wait-online.service.d" \
  "$root/etc/systemd/system/ssh.service.d"
printf '[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/90-dhcp.network"
printf '[Service]\nExecStart=\nExecStart=/lib/systemd/systemd-networkd-wait-online --any --timeout=15\n' \
  >"$root/etc/systemd/system/systemd-networkd-wait-online.service.d/patience.conf"
printf '[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n' \
  >"$root/etc/systemd/system/ssh.service.d/host-keys.conf"
chroot "$root" systemctl enable systemd-networkd systemd-resolved ssh
# Only attached seeds are looked at, nothing on a network is asked. With three entries cloud-init's generator looks for itself and
# stays off where there is no seed; with NoCloud and None it would run all its stages for nothing.
echo 'datasource_list: [ NoCloud, ConfigDrive, None ]' >"$root/etc/cloud/cloud.cfg.d/90-groundplane.cfg"

# The kernel's command line is the same for both firmwares.
options='root=LABEL=gp-root ro console=tty0 console=ttyS0,115200 quiet'
mkdir -p "$root/boot/grub" "$root/boot/efi" "$root/boot/groundplane" "$root/etc/initramfs/post-update.d"

# BIOS: GRUB, which finds the root file system by its label; /vmlinuz and /initrd.img follow kernel updates.
cat >"$root/boot/grub/grub.cfg" <<GRUB
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=0
search --no-floppy --label gp-root --set=root
menuentry 'Debian GNU/Linux' {
  linux /vmlinuz $options
  initrd /initrd.img
}
GRUB
printf 'search --no-floppy --label gp-root --set=root\nset prefix=($root)/boot/grub\nconfigfile ($root)/boot/grub/grub.cfg\n' \
  >"$root/boot/groundplane/early.cfg"
chroot "$root" grub-mkimage -O i386-pc -p /boot/grub -c /boot/groundplane/early.cfg -o /boot/groundplane/core.img \
  biosdisk part_gpt ext2 search search_label normal configfile linux serial terminal echo test minicmd
cp "$root/usr/lib/grub/i386-pc/boot.img" "$root/boot/groundplane/boot.img"

# UEFI: systemd-boot with kernel and initrd on the EFI system partition. Not GRUB: its UEFI build stops with "no TSC found" on
# the CPU model that guests get under software emulation.
cat >"$root/etc/initramfs/post-update.d/zz-efi-system-partition" <<'HOOK'
#!/bin/sh
# Keeps the UEFI copies of kernel and initrd what /vmlinuz and /initrd.img are.
mountpoint -q /boot/efi || exit 0
for name in vmlinuz initrd.img; do
  cp -L "/$name" "/boot/efi/debian/$name.new" && mv "/boot/efi/debian/$name.new" "/boot/efi/debian/$name"
done
HOOK
chmod +x "$root/etc/initramfs/post-update.d/zz-efi-system-partition"
printf 'timeout 0\n' >"$root/boot/groundplane/loader.conf"
printf 'title Debian GNU/Linux\nlinux /debian/vmlinuz\ninitrd /debian/initrd.img\noptions %s\n' "$options" \
  >"$root/boot/groundplane/debian.conf"
truncate -s "$ESP_BYTES" "$root/boot/groundplane/esp.img"
chroot "$root" sh -ec 'cd /boot/groundplane
export MTOOLS_SKIP_CHECK=1
mformat -i esp.img -F -v ESP ::
mmd -i esp.img ::/EFI ::/EFI/BOOT ::/loader ::/loader/entries ::/debian
mcopy -i esp.img /usr/lib/systemd/boot/efi/systemd-bootx64.efi ::/EFI/BOOT/BOOTX64.EFI
mcopy -i esp.img loader.conf ::/loader/loader.conf
mcopy -i esp.img debian.conf ::/loader/entries/debian.conf
mcopy -i esp.img /vmlinuz ::/debian/vmlinuz
mcopy -i esp.img /initrd.img ::/debian/initrd.img'
