import assert from 'node:assert/strict';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { makeSeedIso } from '../wire/iso9660/seed-iso.ts';
import { buildDebian, type DebianImage } from './debian.ts';
import { inspectImage } from './inspect.ts';
import { scoped } from './testing/guest.ts';

const CACHE = fileURLToPath(new URL('../../.cache/images', import.meta.url));
const OVMF = '/usr/share/OVMF';
const BOOT_DEADLINE_MS = 400_000;
const skip = process.env['GP_SLOW'] === '1' ? false : 'minutes long: set GP_SLOW=1';

describe('the Debian image', { skip }, () => {
  let dir = '';
  let image: DebianImage;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'gp-debian-'));
    image = await buildDebian({ cacheDir: CACHE });
  });
  after(() => rm(dir, { recursive: true, force: true }));

  function disk(): string[] {
    const drive = `file=${image.diskPath},format=qcow2,if=none,id=d,snapshot=on`;
    return ['-drive', drive, '-device', 'virtio-blk-pci,drive=d,bootindex=0', '-nic', 'user,model=virtio-net-pci'];
  }

  test('passes our own inspection', async () => {
    assert.deepEqual(await inspectImage(image.diskPath), { format: 'qcow2', virtualSizeBytes: image.sizeBytes });
  });

  test('boots by BIOS to a login prompt and applies its seed', async () => {
    const seed = join(dir, 'seed.iso');
    const files = [
      { name: 'user-data', content: '#cloud-config\nruncmd:\n - [sh, -c, "echo seed-applied > /dev/ttyS0"]\n' },
      { name: 'meta-data', content: 'instance-id: i-1\nlocal-hostname: seeded1\n' },
    ];
    await writeFile(seed, makeSeedIso({ volumeLabel: 'CIDATA', files }));
    const args = [
      ...disk(),
      '-drive',
      `file=${seed},format=raw,if=none,id=s,readonly=on`,
      '-device',
      'virtio-blk-pci,drive=s',
    ];
    await using guest = scoped({ directory: dir, memoryMb: 512, args });
    const [[prompt]] = await Promise.all([
      guest.waitFor(/\S+ login:/, { deadlineMs: BOOT_DEADLINE_MS }),
      guest.waitFor(/seed-applied/, { deadlineMs: BOOT_DEADLINE_MS }),
    ]);
    assert.equal(prompt, 'seeded1 login:');
  });

  test('boots by UEFI to a login prompt', async () => {
    const variables = join(dir, 'vars.fd');
    await copyFile(`${OVMF}/OVMF_VARS_4M.fd`, variables);
    const flash = [`readonly=on,file=${OVMF}/OVMF_CODE_4M.fd`, `file=${variables}`];
    const args = [...disk(), ...flash.flatMap((part) => ['-drive', `if=pflash,format=raw,${part}`])];
    await using guest = scoped({ directory: dir, memoryMb: 512, args });
    const [prompt] = await guest.waitFor(/\S+ login:/, { deadlineMs: BOOT_DEADLINE_MS });
    assert.equal(prompt, 'debian login:');
  });
});
