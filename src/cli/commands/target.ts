/** `gp target`: the SCSI target alone, without a cluster. */
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { CodedError } from '../../base/errors.ts';
import type { Io } from '../io.ts';
import { formatBytes, parseSize } from '../units.ts';

interface ServeCommandOptions {
  readonly file: string;
  readonly size: number;
  readonly portal: Portal;
  readonly blockSize: '512' | '4096';
}

interface Portal {
  readonly host: string;
  readonly port: number;
}

/** Adds `gp target`. */
export function addTargetCommands(program: Command, io: Io): void {
  program
    .command('target')
    .description('the iSCSI target without a cluster, for tests and benchmarks')
    .command('serve')
    .description('serve one file as one disk to every initiator, until Ctrl-C')
    .requiredOption('--file <file>', 'the disk; made sparse where it does not exist')
    .requiredOption('--size <size>', 'its size', parseSize)
    .addOption(
      new Option(
        '--portal <host:port>',
        'address to listen at, for networks that only storage uses: there is no log-in',
      )
        .argParser(parsePortal)
        .default({ host: '127.0.0.1', port: 3260 }, '127.0.0.1:3260'),
    )
    .addOption(new Option('--block-size <bytes>', 'size of a sector').choices(['512', '4096']).default('512'))
    .action((options: ServeCommandOptions) => serve(io, options));
}

async function serve(io: Io, { file, size, portal, blockSize }: ServeCommandOptions): Promise<void> {
  const { serveFile, STANDALONE_TARGET } = await import('../../iscsi/serve.ts');
  const serving = await serveFile({
    file: resolve(io.cwd, file),
    sizeBytes: size,
    blockBytes: blockSize === '512' ? 512 : 4096,
    ...portal,
    onClosed: (initiator, reason) => io.err(`${initiator ?? 'an initiator'}: ${reason}\n`),
  });
  const host = portal.host.includes(':') ? `[${portal.host}]` : portal.host;
  io.out(
    `iscsi://${host}:${serving.port}/${STANDALONE_TARGET}/0 serves ${file}, ${formatBytes(size)}; Ctrl-C ends it\n`,
  );
  await new Promise<void>((end) => {
    if (io.signal.aborted) end();
    else io.signal.addEventListener('abort', () => end(), { once: true });
  });
  await serving.close();
}

/** `HOST:PORT`, with an IPv6 address in brackets. Throws `bad-input`. */
function parsePortal(text: string): Portal {
  const match = /^(?:\[([0-9a-fA-F:.]{2,45})\]|([A-Za-z0-9.-]{1,253})):([0-9]{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host !== undefined && port <= 65_535) return { host, port };
  throw new CodedError('bad-input', `${JSON.stringify(text.slice(0, 60))} is not an address and a port.`, {
    advice: 'Nothing was started. Write it like 127.0.0.1:3260 or [::1]:3260.',
  });
}
