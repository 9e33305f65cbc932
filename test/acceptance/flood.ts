/**
 * An unprivileged process without a certificate holds connections at every port of every role; VMs still start, move
 * and restart.
 */
import assert from 'node:assert/strict';
import { present } from '../../src/base/assert.ts';
import { PORTS, portsOfSlot } from '../../src/core/model/ports.ts';
import type { RunResult } from '../../src/os/child-process.ts';
import { flood } from '../../src/os/testing/flood.ts';
import type { StoryCluster } from '../stories/story-cluster.ts';
import { type Case, createTiny, deleteVms, gp, gpJson, until, untilVm, vmOf } from './case.ts';

/** Longest duration of a flood that is not ended, in seconds. */
const SECONDS_MAX = 150;
/** Files on a flooding host, in a directory writable by everyone: the flood has begun; the flood shall end. */
const ON = '/run/tmp/flood-on';
const OVER = '/run/tmp/flood-over';
const SLOTS = 4;
const DISKS = 6;

/**
 * Holds at most 3,000 connections at a time, in turn silent, half-closed and unfinished; the oldest are closed for new
 * ones. Arguments: the longest duration in seconds, and the addresses with their ports. At the end it prints how many
 * connections it opened.
 */
const FLOODER = `
use Socket; use Fcntl; $| = 1; my $end = time + shift; my @held; my $opened = 0;
my $hello = pack("C*", 22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3);
while (time < $end && !-e "${OVER}") {
  my @new;
  for my $at (@ARGV) {
    my ($address, $port) = split /:/, $at;
    for my $kind (0 .. 2) {
      socket(my $s, PF_INET, SOCK_STREAM, 6) or next;
      fcntl($s, F_SETFL, O_NONBLOCK);
      connect($s, sockaddr_in($port, inet_aton($address)));
      push @new, [$s, $kind];
      $opened++;
    }
  }
  select(undef, undef, undef, 0.2);
  local $SIG{PIPE} = "IGNORE";
  for (@new) { my ($s, $kind) = @$_; shutdown($s, 1) if $kind == 1; syswrite($s, $hello) if $kind == 2; }
  push @held, @new;
  if (@held > 1000 && !-e "${ON}") { open(my $f, ">", "${ON}"); }
  splice(@held, 0, @held - 3000) if @held > 3000;
}
print "$opened\\n";`;

/** Returns every port that is listened at, and those that may be. */
function targets(): readonly string[] {
  const hosts = ['1', '2', '3'].flatMap((n) => [`10.77.2.${n}`, `10.78.2.${n}`]);
  const slots = Array.from({ length: SLOTS }, (_, slot) => portsOfSlot(slot));
  const disks = Array.from({ length: DISKS }, (_, index) => 30_000 + index);
  return [
    ...[PORTS.control, PORTS.controlPeer, PORTS.etcdClient, PORTS.etcdPeer].map((port) => `10.77.0.11:${port}`),
    ...['10.77.1.1', '10.78.1.1'].map((address) => `${address}:${PORTS.storage}`),
    ...[...disks, PORTS.target].map((port) => `10.78.1.1:${port}`),
    ...hosts.map((address) => `${address}:${PORTS.agent}`),
    ...hosts.flatMap((address) =>
      slots.flatMap(({ qmp, serial, migration }) => [...qmp, serial, migration].map((port) => `${address}:${port}`)),
    ),
  ];
}

const FROM = ['h1', 'h2'];

function exec(cluster: StoryCluster, target: string, argv: readonly string[], deadlineMs = 10_000): Promise<RunResult> {
  return cluster.lab('exec', { target, argv, input: '', deadlineMs }) as Promise<RunResult>;
}

/** Runs the flooder on a host as user `nobody`, or as the cluster's own user if there is no other one. */
function floodFrom(cluster: StoryCluster, host: string): Promise<RunResult> {
  const asNobody = process.getuid?.() === 0 ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] : [];
  const perl = ['sh', '-c', 'ulimit -n 4000; exec perl -e "$0" "$@"', FLOODER, String(SECONDS_MAX), ...targets()];
  const deadlineMs = (SECONDS_MAX + 20) * 1_000;
  return exec(cluster, host, [...asNobody, ...perl], deadlineMs);
}

const everywhere: Case = {
  name: 'thousands of silent, half-closed and unfinished connections at every port keep nothing from starting, moving and restarting',
  async run(cluster, say) {
    await createTiny(cluster, 'f1', ['--network', 'lan']);
    await createTiny(cluster, 'f2');
    const port = Number(new URL(cluster.target.apiUrl).port);
    const silent = flood({ host: '127.0.0.1', port, count: 150 });
    let isOver = false;
    const over = Promise.all(FROM.map((host) => floodFrom(cluster, host))).finally(() => {
      isOver = true;
    });
    try {
      const isOn = async (host: string): Promise<boolean> =>
        (await exec(cluster, host, ['test', '-e', ON])).exitCode === 0;
      await until('the floods are on', async () =>
        (await Promise.all(FROM.map(isOn))).every(Boolean) ? true : undefined,
      );
      const startedMs = performance.now();
      await createTiny(cluster, 'f3', ['--network', 'lan']);
      const before = present((await vmOf(cluster, 'f1')).host, 'host of f1');
      await gp(cluster, ['vm', 'migrate', 'f1']);
      const { host } = await untilVm(cluster, 'f1', { verdict: 'running', generation: 2 });
      assert.notEqual(host, before);
      await gp(cluster, ['vm', 'stop', 'f2', '--hard']);
      await gp(cluster, ['vm', 'start', 'f2']);
      await untilVm(cluster, 'f2', { verdict: 'running', generation: 2 });
      const hosts = await gpJson<readonly { readonly name: string; readonly agent: string }[]>(cluster, [
        'host',
        'list',
      ]);
      assert.deepEqual(
        hosts.map(({ agent }) => agent),
        ['alive', 'alive', 'alive'],
      );
      assert.equal(isOver, false, `the flood was over after ${SECONDS_MAX} s, and this was not done`);
      say(`done after ${Math.round(performance.now() - startedMs)} ms of the flood`);
    } finally {
      for (const host of FROM) await exec(cluster, host, ['touch', OVER]);
      for (const { stdout, stderr, exitCode } of await over) {
        assert.equal(exitCode, 0, stderr);
        say(`connections opened from a host: ${stdout.trim().split('\n').at(-1)}`);
      }
      for (const host of FROM) await exec(cluster, host, ['rm', '-f', ON, OVER]);
      for (const socket of silent) socket.destroy();
      await deleteVms(cluster, ['f1', 'f2', 'f3']);
    }
  },
};

export const floods: readonly Case[] = [everywhere];
