/**
 * The command line of a QEMU. Pure. Guarantees: the same order gives the same machine on every host, as a live
 * migration needs it (what differs between hosts are backends: sockets, taps, files); no secret is in it; the guest
 * does not run until somebody says `cont` over QMP.
 */

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { DiskId, VmId } from '../../base/ids.ts';
import { portsOfSlot } from '../../core/model/ports.ts';
import { sharedBlockNode, sharedDevice, sharedSecretId } from '../../core/model/shared-disk-devices.ts';
import type { LaunchDisk, LaunchOrder } from '../../core/ports/host-link.ts';
import { markerArgument } from '../incarnations.ts';
import { netdevId, tapName } from '../network/taps.ts';
import { SHARED_CONTROLLER_DEVICE } from './needs.ts';

export interface QemuContext {
  readonly accelerator: 'kvm' | 'tcg';
  /** The incarnation's own directory; credentials are in `tls`, the serial log is `serial.log`. */
  readonly directory: string;
  readonly kernelFile: string | null;
  readonly initrdFile: string | null;
}

export interface Confinement {
  /** The user QEMU runs as; null: the agent's own. */
  readonly uid: number | null;
  /** Whether the agent may drop capabilities for its child (it is root, in whichever user namespace). */
  readonly root: boolean;
}

/** One machine type for the whole cluster: versioned, so that hosts with another QEMU offer the same machine. */
export const MACHINE_TYPE = 'pc-q35-7.2';
/** UEFI firmware of Debian's package `ovmf`; its variables are a disk of the VM. */
const OVMF_CODE_FILE = '/usr/share/OVMF/OVMF_CODE_4M.fd';
/** The greatest size of files that QEMU writes (serial log, its own messages), in bytes. */
const FILE_BYTES_MAX = 4 * 1024 * 1024;
/**
 * The MTU that guests are told: what is left of Ethernet's 1500 in a VXLAN tunnel (RFC 7348). It is a constant and not
 * derived from the host's underlay, because it is a property of the virtual card and must not change in a migration.
 */
export const GUEST_MTU = 1450;
/** How long QEMU tries to reach a disk when it starts, in seconds. */
const OPEN_TIMEOUT_S = 5;
/**
 * Root ports: 0 to 7 for network cards, 8 to 23 for disks; made in groups of four, the rest of a group for hot-plug.
 */
const DISK_PORT = 8;
/** Displays are numbered from this port on (RFC 6143, appendix A). */
const VNC_BASE_PORT = 5_900;
const PORT_GROUP = 4;
/** The smallest difference that QEMU's rounding of memory sizes keeps. */
const TCG_ODD_KIB = 8;
/** QEMU's model under KVM that every x86-64-v2 machine with AES can offer. */
const KVM_BASELINE = 'qemu64,+aes,+popcnt,+pni,+sse4.1,+sse4.2,+ssse3';

/** The VM's UUID as the guest sees it: derived from its id (RFC 9562, version 8), so that it never changes. */
export function vmUuid(vm: VmId): string {
  const hex = createHash('sha256').update(`groundplane ${vm}`).digest('hex');
  const variant = ((Number.parseInt(hex[16] ?? '0', 16) & 3) | 8).toString(16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/**
 * The arguments before QEMU's own: no core files, bounded files (QEMU then gets EFBIG, not the deadly signal), a user
 * of its own, no capability and no way to get one.
 */
export function confinementArguments({ uid, root }: Confinement): readonly string[] {
  const user = uid === null ? [] : ['--reuid', `${uid}`, '--regid', `${uid}`, '--clear-groups'];
  const capabilities = root ? ['--bounding-set=-all', '--inh-caps=-all'] : [];
  return [
    ...['prlimit', `--fsize=${FILE_BYTES_MAX}:${FILE_BYTES_MAX}`, '--core=0', '--'],
    ...['env', '--ignore-signal=XFSZ'],
    ...['setpriv', ...user, '--no-new-privs', ...capabilities, '--'],
  ];
}

/** The program and its arguments. */
export function qemuArguments(order: LaunchOrder, context: QemuContext): readonly string[] {
  return [
    'qemu-system-x86_64',
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-S'],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...['-name', `guest=${order.vmName},process=vm:${order.vmName},debug-threads=on`],
    ...['-chardev', markerArgument(order)],
    ...['-uuid', vmUuid(order.vm)],
    ...machineArguments(order, context),
    ...remoteArguments(order, context),
    ...order.disks.flatMap((disk, index) => blockdevArguments(disk, index)),
    ...busArguments(order),
    ...order.disks.flatMap((disk, index) => diskDeviceArguments(disk, index, order)),
    ...sharedDiskArguments(order, context),
    ...nicArguments(order),
    ...displayArguments(order),
    ...guestAgentArguments(order),
    ...['-object', 'rng-builtin,id=rng0', '-device', 'virtio-rng-pci,rng=rng0,bus=pcie.0,addr=0x1e'],
    ...['-device', 'isa-serial,chardev=serial0', '-device', 'pvpanic'],
    ...bootArguments(order, context),
    ...(order.incoming ? ['-incoming', 'defer'] : []),
  ];
}

function machineArguments({ machine, disks, generation }: LaunchOrder, { accelerator }: QemuContext): string[] {
  const nvram = disks.findIndex(({ role }) => role === 'nvram');
  const flash = nvram === -1 ? '' : `,pflash0=firmware,pflash1=${nodeName(nvram)}`;
  const firmware = { driver: 'file', filename: OVMF_CODE_FILE, 'node-name': 'firmware', 'read-only': true };
  return [
    ...(nvram === -1 ? [] : ['-blockdev', JSON.stringify(firmware)]),
    ...['-machine', `${MACHINE_TYPE},vmport=off${flash}`],
    ...['-accel', accelerator],
    ...['-cpu', cpuArgument(machine.cpuModel, accelerator)],
    ...['-smp', `cpus=${machine.vcpus},sockets=1,cores=${machine.vcpus},threads=1`],
    ...['-m', `size=${memoryKib(machine.memoryBytes, accelerator)}K`],
    ...['-rtc', 'base=utc'],
    // Sleep states would lose the guest's memory or its place: pause and stop are the cluster's.
    ...['-global', 'ICH9-LPC.disable_s3=1', '-global', 'ICH9-LPC.disable_s4=1'],
    // A guest that ends by itself leaves its QEMU paused, which tells a power-off from a crash of QEMU.
    ...['-action', 'shutdown=pause,reboot=reset,panic=pause,watchdog=pause'],
    // The name has a fixed length: the guest's table of files must have the same size after a migration.
    ...['-fw_cfg', `name=opt/groundplane/generation,string=${String(generation).padStart(20, '0')}`],
  ];
}

/**
 * Under TCG, 8 KiB more than the guest was given. QEMU 7.2 takes the dirty bits of a block of memory 64 pages at a time
 * where it can, and then forgets to tell the translated code to set them again: what the guest writes until its next
 * TLB flush is missing after a migration. A block that is no multiple of 64 pages is looked through page by page, which
 * is right (docs/decisions/0012).
 */
function memoryKib(memoryBytes: number, accelerator: 'kvm' | 'tcg'): number {
  return memoryBytes / 1024 + (accelerator === 'tcg' ? TCG_ODD_KIB : 0);
}

function cpuArgument(model: string, accelerator: 'kvm' | 'tcg'): string {
  if (accelerator === 'kvm') return model === 'baseline' ? KVM_BASELINE : model;
  // TCG's time stamp counter jumps in a migration, and a guest that keeps time by it hangs. "Enhanced" REP MOVSB and
  // STOSB are emulated byte by byte: a guest that is told of them clears and copies its pages three times as slowly.
  return `${model === 'baseline' ? 'max' : model},-tsc,-erms`;
}

/**
 * Monitors and serial console, for control nodes only; credentials for disks and migration, from the same directory.
 */
function remoteArguments({ slot }: LaunchOrder, { directory }: QemuContext): string[] {
  const ports = portsOfSlot(slot);
  const dir = join(directory, 'tls');
  const creds = (id: string, endpoint: string): string[] => [
    '-object',
    JSON.stringify({ 'qom-type': 'tls-creds-x509', id, endpoint, dir, 'verify-peer': true }),
  ];
  const authz = {
    'qom-type': 'authz-list',
    id: 'control-only',
    policy: 'deny',
    rules: [{ match: 'CN=control:*', policy: 'allow', format: 'glob' }],
  };
  const log = `logfile=${escapeCommas(join(directory, 'serial.log'))},logappend=on`;
  return [
    ...creds('tls-server', 'server'),
    ...creds('tls-client', 'client'),
    ...['-object', JSON.stringify(authz)],
    // QEMU connects here once, when the machine is complete (see launch.ts); the socket is of no use afterwards.
    ...['-chardev', `socket,id=ready,path=${escapeCommas(join(directory, 'ready.sock'))}`],
    ...['-mon', 'chardev=ready,mode=control'],
    ...ports.qmp.flatMap((port, index) => [
      ...['-chardev', listen(`qmp${index}`, port)],
      ...['-mon', `chardev=qmp${index},mode=control`],
    ]),
    ...['-chardev', `${listen('serial0', ports.serial)},${log}`],
  ];
}

/**
 * A chardev that listens for control nodes. Without nodelay an answer directly after another one waits for the client's
 * delayed acknowledgement: 40 ms each time.
 */
function listen(id: string, port: number): string {
  return `socket,id=${id},host=0.0.0.0,port=${port},server=on,wait=off,nodelay=on,tls-creds=tls-server,tls-authz=control-only`;
}

/**
 * The port under the name by which guest agents know it (QEMU's manual, "QEMU Guest Agent"). Port 0 would be a console.
 */
function guestAgentArguments({ machine, slot }: LaunchOrder): string[] {
  if (machine.guestAgent !== true) return [];
  return [
    ...['-chardev', listen('agent0', portsOfSlot(slot).guestAgent)],
    ...['-device', 'virtio-serial-pci,id=ports,bus=pcie.0,addr=0x1a,max_ports=2'],
    ...['-device', 'virtserialport,bus=ports.0,nr=1,chardev=agent0,name=org.qemu.guest_agent.0'],
  ];
}

function blockdevArguments(disk: LaunchDisk, index: number): string[] {
  const { address, port, name, tlsName } = disk.export;
  return [
    '-blockdev',
    JSON.stringify({
      driver: 'nbd',
      'node-name': nodeName(index),
      // Without this limit QEMU would wait for ever for an answer that was lost with the network or the storage node:
      // nothing is sent in the meantime.
      server: { type: 'inet', host: address, port: String(port), 'keep-alive': true },
      export: name,
      'tls-creds': 'tls-client',
      'tls-hostname': tlsName,
      'reconnect-delay': Math.ceil(disk.patienceMs / 1000),
      'open-timeout': OPEN_TIMEOUT_S,
      'read-only': disk.readOnly,
      ...(disk.readOnly ? {} : { discard: 'unmap' }),
    }),
  ];
}

function busArguments({ disks, nics }: LaunchOrder): string[] {
  const grouped = (count: number): number => Math.max(1, Math.ceil(count / PORT_GROUP)) * PORT_GROUP;
  const range = (first: number, count: number): number[] => Array.from({ length: count }, (_, i) => first + i);
  const onPorts = disks.filter(({ role, bus }) => role !== 'nvram' && bus === 'virtio').length;
  const ports = [...range(0, grouped(nics.length)), ...range(DISK_PORT, grouped(onPorts))];
  const scsi = disks.some(({ bus, role }) => role !== 'nvram' && bus === 'scsi');
  return [
    ...ports.flatMap((port) => [
      '-device',
      `pcie-root-port,id=port${port},bus=pcie.0,chassis=${port + 1},slot=${port + 1},io-reserve=0,` +
        `multifunction=on,addr=0x${(2 + Math.floor(port / 8)).toString(16)}.${port % 8}`,
    ]),
    ...(scsi ? ['-device', 'virtio-scsi-pci,id=scsi0,bus=pcie.0,addr=0x1d'] : []),
  ];
}

function diskDeviceArguments(disk: LaunchDisk, index: number, order: LaunchOrder): string[] {
  if (disk.role === 'nvram') return [];
  const sameBus = order.disks.slice(0, index).filter(({ role, bus }) => role !== 'nvram' && bus === disk.bus).length;
  const firstData = order.disks.findIndex(({ role }) => role === 'data') === index;
  // With a kernel given, the firmware boots that one.
  const boot = firstData && order.machine.firmware !== 'direct' ? ',bootindex=1' : '';
  const common = `drive=${nodeName(index)},id=drive${index},serial=${disk.disk},werror=stop,rerror=stop${boot}`;
  if (disk.bus === 'virtio') return ['-device', `virtio-blk-pci,bus=port${DISK_PORT + sameBus},${common}`];
  const model = disk.role === 'seed' ? 'scsi-cd' : 'scsi-hd';
  return ['-device', `${model},bus=scsi0.0,channel=0,scsi-id=${sameBus},lun=0,${common}`];
}

/**
 * The controller for shared disks, and the disks that are there from the start. Their secrets are in files of the
 * incarnation.
 */
function sharedDiskArguments({ sharedDisks }: LaunchOrder, { directory }: QemuContext): string[] {
  if (sharedDisks === undefined) return [];
  return [
    ...['-device', `${SHARED_CONTROLLER_DEVICE}bus=pcie.0,addr=0x1c`],
    ...sharedDisks.flatMap((shared) => [
      ...[
        '-object',
        JSON.stringify({
          'qom-type': 'secret',
          id: sharedSecretId(shared.disk),
          file: secretFile(directory, shared.disk),
        }),
      ],
      ...['-blockdev', JSON.stringify(sharedBlockNode(shared))],
      ...['-device', JSON.stringify(sharedDevice(shared))],
    ]),
  ];
}

/** Where the secret of a shared disk's account is, for QEMU alone to read. */
export function secretFile(directory: string, disk: DiskId): string {
  return join(directory, `${disk}.secret`);
}

function nicArguments({ nics, slot }: LaunchOrder): string[] {
  return nics.flatMap((nic, index) => [
    ...['-netdev', `tap,id=${netdevId(nic)},ifname=${tapName(slot, index)},script=no,downscript=no,vhost=off`],
    ...[
      '-device',
      `virtio-net-pci,bus=port${index},id=nic${index},netdev=${netdevId(nic)},mac=${nic.mac},romfile=,host_mtu=${GUEST_MTU}`,
    ],
  ]);
}

/**
 * A display for people, with a tablet as its pointer, so that guest and viewer agree where it is. Any number of viewers
 * see it at once; TLS and access are the same as for monitors (VeNCrypt, X509None).
 */
function displayArguments({ machine, slot }: LaunchOrder): string[] {
  if ((machine.display ?? null) === null) return [];
  const number = portsOfSlot(slot).vnc - VNC_BASE_PORT;
  return [
    ...['-device', 'VGA,bus=pcie.0,addr=0x1'],
    ...['-device', 'qemu-xhci,id=usb,bus=pcie.0,addr=0x1b', '-device', 'usb-tablet,bus=usb.0'],
    ...['-vnc', `0.0.0.0:${number},share=ignore,tls-creds=tls-server,tls-authz=control-only`],
  ];
}

function bootArguments({ machine }: LaunchOrder, { kernelFile, initrdFile }: QemuContext): string[] {
  if (machine.firmware !== 'direct' || kernelFile === null) return ['-boot', 'strict=on'];
  return [
    ...['-kernel', kernelFile],
    ...(initrdFile === null ? [] : ['-initrd', initrdFile]),
    ...(machine.append === null ? [] : ['-append', machine.append]),
  ];
}

function nodeName(index: number): string {
  return `disk${index}`;
}

/** In QEMU's key=value arguments a comma is written twice. */
function escapeCommas(value: string): string {
  return value.replaceAll(',', ',,');
}
