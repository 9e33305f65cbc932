import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseVmId } from '../../base/ids.ts';
import type { LaunchOrder } from '../../core/ports/host-link.ts';
import { parseIncarnation } from '../incarnations.ts';
import { parseLaunchOrder } from '../orders.ts';
import { confinementArguments, type QemuContext, qemuArguments, vmUuid } from './arguments.ts';
import { needsOf } from './needs.ts';

const CONTEXT: QemuContext = {
  accelerator: 'tcg',
  directory: '/run/groundplane/vm-0123456789ab-g5',
  kernelFile: null,
  initrdFile: null,
};
const pem = (kind: string): string => `-----BEGIN ${kind}-----\nAAAA\n-----END ${kind}-----\n`;

function disk(role: string, bus: string, readOnly = false): object {
  const location = { address: '10.78.1.1', port: 30_000, name: 'disk-1.g5', tlsName: 's1.storage.groundplane' };
  return { disk: 'disk-0123456789ab', role, bus, readOnly, export: location, patienceMs: 29_500 };
}

function order(changes: { machine?: object; [field: string]: unknown } = {}): LaunchOrder {
  const { machine, ...rest } = changes;
  return parseLaunchOrder(
    {
      term: 7,
      vm: 'vm-0123456789ab',
      vmName: 'web1',
      generation: 5,
      slot: 2,
      incoming: false,
      machine: {
        vcpus: 2,
        memoryBytes: 256 * 1024 ** 2,
        cpuModel: 'baseline',
        firmware: 'bios',
        kernel: null,
        initrd: null,
        append: null,
        ...machine,
      },
      disks: [disk('data', 'virtio'), disk('seed', 'virtio', true)],
      nics: [{ mac: '02:00:00:00:00:01', network: 'lan', vni: 100 }],
      credentials: { caPem: pem('CERTIFICATE'), certPem: pem('CERTIFICATE'), keyPem: pem('PRIVATE KEY') },
      network: { revision: 1, networks: [], drop: [] },
      ...rest,
    },
    '',
  );
}

/** GROUNDPLANE_RECORD=1 records the file anew; look at the difference before you commit it. */
const GOLDEN = new URL('../testing/qemu-arguments.golden.txt', import.meta.url);

/** One option per line, as a person would read it. */
function written(argv: readonly string[]): string {
  return `${argv.join('\n').replaceAll(/\n(?!-)/g, ' ')}\n`;
}

test('the whole command line is the recorded one', () => {
  const uefi = order({
    incoming: true,
    machine: { firmware: 'uefi', cpuModel: 'Westmere' },
    disks: [disk('data', 'scsi'), disk('nvram', 'virtio'), disk('seed', 'scsi', true)],
    nics: [],
  });
  const direct = order({
    machine: {
      firmware: 'direct',
      kernel: { sha256: 'a'.repeat(64), sizeBytes: 1, from: [] },
      append: 'console=ttyS0,115200 root=/dev/vda',
    },
  });
  const all = [
    ['BIOS', qemuArguments(order(), CONTEXT)],
    ['UEFI, SCSI, destination', qemuArguments(uefi, CONTEXT)],
    ['direct, KVM', qemuArguments(direct, { ...CONTEXT, accelerator: 'kvm', kernelFile: '/k', initrdFile: '/i' })],
    ['BIOS, with a display', qemuArguments(order({ machine: { display: 'vga' } }), CONTEXT)],
    ['own user', confinementArguments({ uid: 600_002, root: true })],
    ["an ordinary user's", confinementArguments({ uid: null, root: false })],
  ] as const;
  const text = all.map(([name, argv]) => `# ${name}\n${written(argv)}`).join('\n');
  if (process.env['GROUNDPLANE_RECORD'] === '1') writeFileSync(GOLDEN, text);
  assert.equal(text, readFileSync(GOLDEN, 'utf8'));
});

test('nothing of the guest-visible machine differs between two hosts, but for the generation', () => {
  const machineOf = (o: LaunchOrder, context: QemuContext): readonly string[] => {
    const argv = qemuArguments(o, context);
    return argv
      .filter((_, index) => ['-device', '-machine', '-cpu', '-smp', '-m', '-uuid'].includes(argv[index - 1] ?? ''))
      .map((argument) => argument.replace(/netdev=[^,]*/, ''));
  };
  const there = order({ slot: 9, generation: 6, incoming: true });
  assert.deepEqual(machineOf(there, { ...CONTEXT, directory: '/elsewhere' }), machineOf(order(), CONTEXT));
});

test('under TCG the memory is never a multiple of what QEMU 7.2 takes dirty bits by; under KVM it is what was ordered', () => {
  const kibOf = (accelerator: 'kvm' | 'tcg', mib: number): number => {
    const { machine } = order();
    const argv = qemuArguments(order({ machine: { ...machine, memoryBytes: mib * 1024 ** 2 } }), {
      ...CONTEXT,
      accelerator,
    });
    return Number(/^size=(\d+)K$/.exec(argv[argv.indexOf('-m') + 1] ?? '')?.[1]);
  };
  for (const mib of [96, 128, 1024, 4097]) {
    assert.equal(kibOf('kvm', mib), mib * 1024);
    assert.equal(kibOf('tcg', mib) % 256, 8);
    assert.ok(kibOf('tcg', mib) > mib * 1024);
  }
});

test('a command line says again what it was made from', () => {
  assert.deepEqual(parseIncarnation(qemuArguments(order({ incoming: true }), CONTEXT)), {
    vm: 'vm-0123456789ab',
    generation: 5,
    slot: 2,
    incoming: true,
    taps: [{ device: 'gpt2n0', vni: 100, mac: '02:00:00:00:00:01' }],
    needs: needsOf(order()),
  });
  assert.ok(needsOf(order()).disks.length > 0);
  assert.equal(parseIncarnation(['sh', '-c', 'null,id=gp.vm-0123456789ab.g5.s2 ']), undefined);
});

test('no secret is in the arguments', () => {
  assert.doesNotMatch(qemuArguments(order(), CONTEXT).join(' '), /BEGIN|AAAA/);
});

test('a UUID is stable, and of its own for each VM', () => {
  assert.equal(vmUuid(parseVmId('vm-0123456789ab')), vmUuid(parseVmId('vm-0123456789ab')));
  assert.notEqual(vmUuid(parseVmId('vm-0123456789ab')), vmUuid(parseVmId('vm-0123456789ac')));
  assert.match(
    vmUuid(parseVmId('vm-0123456789ab')),
    /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
  );
});

test('orders that make no machine are refused with their place', () => {
  const refused = (changes: Parameters<typeof order>[0], message: RegExp): void => {
    assert.throws(() => order(changes), message);
  };
  refused({ slot: 1000 }, /slot must be/);
  refused({ vmName: '../x' }, /vmName must be/);
  refused({ generation: 0 }, /generation must be/);
  refused({ needs: ['tape'] }, /needs tape, which this version does not have/);
  refused({ nics: [{ mac: '03:00:00:00:00:01', network: 'lan', vni: 1 }] }, /nics\[0\]\.mac/);
  refused({ machine: { memoryBytes: 64 * 1024 ** 2 + 1 } }, /multiple of 1 MiB/);
  refused({ machine: { cpuModel: 'max,+x' } }, /cpuModel/);
  refused({ machine: { firmware: 'uefi' } }, /nvram/);
  refused({ machine: { firmware: 'direct' } }, /kernel/);
  refused({ disks: [disk('nvram', 'virtio')] }, /nvram/);
});

const SHARED = {
  disk: 'disk-00000000000a',
  lun: 3,
  address: '10.78.1.1',
  port: 3260,
  target: 'iqn.2026-11.org.groundplane:disks:vm-0123456789ab',
  initiator: 'iqn.2026-11.org.groundplane:vm:vm-0123456789ab',
  account: 'vm-0123456789ab:g5',
  secret: 'a-secret-of-more-than-twelve',
};

test('shared disks: a place for them where the order names them, even none; their secrets in files of the directory', () => {
  const argvOf = (sharedDisks?: readonly object[]): readonly string[] =>
    qemuArguments(order(sharedDisks === undefined ? {} : { sharedDisks, needs: ['shared-disks'] }), CONTEXT);
  assert.ok(!argvOf().join(' ').includes('shared0'));
  const none = argvOf([]);
  assert.deepEqual(
    none.filter((word) => !argvOf().includes(word)),
    ['virtio-scsi-pci,id=shared0,bus=pcie.0,addr=0x1c'],
  );
  const [, secret, node, device] = argvOf([SHARED]).filter((word) => !argvOf().includes(word));
  assert.deepEqual(JSON.parse(secret ?? ''), {
    'qom-type': 'secret',
    id: 'secret-disk-00000000000a',
    file: '/run/groundplane/vm-0123456789ab-g5/disk-00000000000a.secret',
  });
  assert.match(node ?? '', /"driver":"iscsi".*"portal":"10.78.1.1:3260".*"lun":3.*"user":"vm-0123456789ab:g5"/);
  assert.match(device ?? '', /"driver":"scsi-block".*"bus":"shared0.0".*"share-rw":true.*"werror":"report"/);
  assert.ok(!argvOf([SHARED]).join(' ').includes(SHARED.secret));
  for (const change of [{ lun: 256 }, { secret: 'short' }, { target: 'iqn,id=x' }, { account: 'a"b' }])
    assert.throws(() => argvOf([{ ...SHARED, ...change }]), { code: 'bad-input' });
});

test("a port for the guest's agent where the order names it, for control nodes only", () => {
  const argvOf = (machine: object): readonly string[] =>
    qemuArguments(order({ machine, needs: ['guest-agent'] }), CONTEXT);
  const [chardev, bus, port] = argvOf({ guestAgent: true }).filter((word) => !argvOf({}).includes(word));
  assert.match(
    chardev ?? '',
    /^socket,id=agent0,host=0\.0\.0\.0,port=21022,.*tls-creds=tls-server,tls-authz=control-only$/,
  );
  assert.equal(bus, 'virtio-serial-pci,id=ports,bus=pcie.0,addr=0x1a,max_ports=2');
  assert.equal(port, 'virtserialport,bus=ports.0,nr=1,chardev=agent0,name=org.qemu.guest_agent.0');
  assert.deepEqual(argvOf({ guestAgent: false }), argvOf({}));
});
