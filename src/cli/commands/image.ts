/** `gp image`: import, build, list, show, delete. */
import type { Command } from 'commander';
import type { PutImage } from '../../api/requests.ts';
import type { Image } from '../../api/views.ts';
import { CodedError } from '../../base/errors.ts';
import type { Build } from '../builtin-images.ts';
import { locate } from '../cluster-location.ts';
import type { UploadFile } from '../image-upload.ts';
import type { Io } from '../io.ts';
import { present, type Session } from '../session.ts';
import { formatFields } from '../table.ts';
import { formatBytes, parseCount, parseSize } from '../units.ts';
import { action, nameArgument } from './common.ts';
import { IMAGE_TABLE } from './presentations.ts';

/** Adds `gp image`. */
export function addImageCommands(program: Command, io: Io): void {
  const image = program.command('image').description('images that VMs are made of');
  addImport(image, io);
  addBuild(image, io);
  addReading(image, io);
}

interface ImportOptions {
  readonly format?: string;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly memory?: number;
  readonly minMemory?: number;
  readonly vcpus?: number;
  readonly blankDisk?: number;
}

function addImport(image: Command, io: Io): void {
  image
    .command('import')
    .description('import a disk image (qcow2 or raw), a kernel for direct boot, or both')
    .argument('<name>', 'name of the image', nameArgument)
    .argument('[file]', 'disk image, also compressed (gzip, zstd, xz); - for standard input')
    .option('--format <format>', 'qcow2 or raw: the image is refused if it has another format; detected if not given')
    .option('--kernel <file>', 'kernel for direct boot')
    .option('--initrd <file>', 'initial RAM disk for direct boot')
    .option('--append <text>', 'kernel command line for direct boot')
    .option('--memory <size>', 'memory of VMs that say nothing else', parseSize)
    .option('--min-memory <size>', 'the least that its guest boots with: VMs with less are refused', parseSize)
    .option('--vcpus <n>', 'vCPUs of VMs that say nothing else', (text: string) => parseCount(text))
    .option('--blank-disk <size>', 'blank disk of VMs that say nothing else', parseSize)
    .action(
      action(io, async (session, name: string, file: string | undefined, options: ImportOptions) => {
        await importImage(session, name, file, options);
      }),
    );
}

async function importImage(
  session: Session,
  name: string,
  file: string | undefined,
  options: ImportOptions,
): Promise<void> {
  const { io } = session;
  if (file === undefined && options.kernel === undefined) throw usage('Give a disk image, --kernel, or both.');
  if (options.kernel === undefined && (options.initrd ?? options.append) !== undefined) {
    throw usage('--initrd and --append need --kernel.');
  }
  const { makeImage } = await import('../image-upload.ts');
  const client = await session.client();
  const made = await makeImage({ io, client, name }, (upload) => bodyOf(io, { file, options, upload }));
  await session.printOne(made, IMAGE_TABLE, () => `${name} imported\n`);
}

async function bodyOf(
  io: Io,
  asked: { readonly file: string | undefined; readonly options: ImportOptions; readonly upload: UploadFile },
): Promise<PutImage> {
  const { file, options, upload } = asked;
  const { kernel, initrd } = options;
  const disk = file === undefined ? undefined : await diskOf(io, { file, format: options.format, upload });
  const direct =
    kernel === undefined
      ? undefined
      : present({
          kernel: await upload({ path: kernel, kind: 'kernel' }),
          initrd: initrd === undefined ? undefined : await upload({ path: initrd, kind: 'initrd' }),
          append: options.append,
        });
  const defaults = present({ memoryBytes: options.memory, vcpus: options.vcpus, blankDiskBytes: options.blankDisk });
  return present({
    disk,
    direct,
    defaults: Object.keys(defaults).length === 0 ? undefined : defaults,
    minMemoryBytes: options.minMemory,
  });
}

/**
 * Checks a disk image, in the stated format if one is stated, and sends it; the storage service repeats the check and
 * trusts neither.
 */
async function diskOf(
  io: Io,
  asked: { readonly file: string; readonly format: string | undefined; readonly upload: UploadFile },
): Promise<NonNullable<PutImage['disk']>> {
  const { format: stated } = asked;
  if (stated !== undefined && stated !== 'qcow2' && stated !== 'raw')
    throw usage(`--format is qcow2 or raw, not ${JSON.stringify(stated.slice(0, 20))}.`);
  const { withSource } = await import('../image-source.ts');
  const { inspectImage } = await import('../../images/inspect.ts');
  return withSource(io, asked.file, async ({ file, label }) => {
    const { format } = await inspectImage(file, { format: stated, signal: io.signal });
    return { sha256: await asked.upload({ path: file, label, kind: 'disk' }), format };
  });
}

function usage(message: string): CodedError {
  return new CodedError('bad-input', message, { advice: 'Nothing was changed; `gp image import --help` says more.' });
}

function addBuild(image: Command, io: Io): void {
  image
    .command('build')
    .description('build an image on this machine and import it')
    .argument('<kind>', 'tiny (kernel and busybox), debian or guest-cluster (corosync, Pacemaker, PostgreSQL)')
    .argument('[name]', 'name of the image (default: the kind)', nameArgument)
    .option('--suite <suite>', 'Debian suite of the kind debian, such as bookworm')
    .action(
      action(io, async (session, kind: string, name: string | undefined, { suite }: { readonly suite?: string }) => {
        const { imageCacheDir, importDebian, importGuestCluster, importTiny } = await import('../builtin-images.ts');
        const makers = new Map<string, (build: Build) => Promise<Image>>([
          ['tiny', importTiny],
          ['debian', (build) => importDebian(build, suite)],
          ['guest-cluster', importGuestCluster],
        ]);
        const make = makers.get(kind);
        if (make === undefined) {
          throw new CodedError('bad-input', `${JSON.stringify(kind.slice(0, 40))} cannot be built.`, {
            advice: 'Build tiny, debian or guest-cluster.',
          });
        }
        const { dir } = await locate(io, session.options.dir);
        const made = await make({
          io,
          client: await session.client(),
          name: name ?? kind,
          cacheDir: imageCacheDir(io, dir),
          onProgress: (line: string) => io.err(`${line}\n`),
        });
        await session.printOne(made, IMAGE_TABLE, (of) => `${of.name} built and imported\n`);
      }),
    );
}

function addReading(image: Command, io: Io): void {
  image
    .command('list')
    .description('list images')
    .action(
      action(io, async (session) => {
        const client = await session.client();
        await session.printList(await client.list('/v1/images', { signal: io.signal }), IMAGE_TABLE);
      }),
    );
  image
    .command('show')
    .description('show an image')
    .argument('<image>', 'name', nameArgument)
    .action(
      action(io, async (session, name: string) => {
        const client = await session.client();
        const shown = await client.call(client.http.GET('/v1/images/{image}', { params: { path: { image: name } } }));
        await session.printOne(shown, IMAGE_TABLE, describeImage);
      }),
    );
  image
    .command('delete')
    .description('delete an image; disks made from it stay')
    .argument('<image>', 'name', nameArgument)
    .action(
      action(io, async (session, name: string) => {
        const client = await session.client();
        await client.call(client.http.DELETE('/v1/images/{image}', { params: { path: { image: name } } }));
        session.say(`${name} deleted`);
      }),
    );
}

function describeImage(image: Image): string {
  const { disk, direct, defaults } = image;
  return formatFields([
    ['Name', image.name],
    ['Disk', disk === null ? '-' : `${disk.format}, ${formatBytes(disk.virtualSizeBytes)}, sha256 ${disk.sha256}`],
    ['Kernel', direct === null ? '-' : `sha256 ${direct.kernel.sha256}`],
    ['Initrd', direct?.initrd == null ? '-' : `sha256 ${direct.initrd.sha256}`],
    ['Append', direct === null ? '-' : direct.append],
    ['Memory', formatBytes(defaults.memoryBytes)],
    ['Least memory', image.minMemoryBytes === null ? '-' : formatBytes(image.minMemoryBytes)],
    ['vCPUs', String(defaults.vcpus)],
    ['Blank disk', defaults.blankDiskBytes === null ? '-' : formatBytes(defaults.blankDiskBytes)],
    ['Nodes', image.nodes.join(', ') || '-'],
    ['Revision', image.revision],
  ]);
}
