/** Mistakes of rolls, made on purpose: what a leader does who reads records wrongly. Each shows in small rolls. */
import type { DrainRecord } from '../../core/model/drain.ts';
import type { RollRecord } from '../../core/model/roll.ts';
import type { PlantedBug } from './planted-bug.ts';
import { misreading } from './planting.ts';
import { drawRoll, type RollSwarm, type Swarm } from './swarm.ts';

const swarm = (seed: number): Swarm => drawRoll(seed, 'small');

/**
 * A roll in which nothing else goes wrong, of hosts in two racks that are nearly full, with users who want what drains
 * were promised.
 */
const calmSwarm =
  (limits: Pick<RollSwarm, 'maxUnavailable' | 'perRack'>) =>
  (seed: number): Swarm => {
    const drawn = swarm(seed);
    if (drawn.roll === undefined) throw new Error('A roll was drawn.');
    const roll: RollSwarm = {
      ...drawn.roll,
      ...limits,
      ...{ windows: [], commands: [], usersMs: 400 },
      ...{ workFailsPercent: 0, gpEndsPercent: 0, pausePercent: 0, abortPercent: 0 },
    };
    const vms = Math.floor(drawn.hosts * 2.5);
    return { ...drawn, racks: 2, roll, vms, faults: new Map(), deeds: new Map(), troubleMs: 60_000 };
  };

/** Every host is of the first wave. */
const inOneWave = (roll: RollRecord): RollRecord['hosts'] => roll.hosts.map((host) => ({ ...host, wave: 0 }));

/** In no order. */
export const ROLL_BUGS: readonly PlantedBug[] = [
  {
    name: 'roll-past-its-window',
    says: 'a roll looks at its windows and freezes when it is asked for, and never again',
    rules: ['MR2-inside-windows'],
    swarm,
    plantStore: (store) => misreading<RollRecord>(store.rolls, (roll) => ({ ...roll, windows: [], freezes: [] })),
  },
  {
    name: 'roll-too-many-at-once',
    says: 'a roll takes more hosts away at once than may be unavailable',
    rules: ['MR4-few-hosts-away'],
    swarm,
    plantStore: (store) =>
      misreading<RollRecord>(store.rolls, (roll) => ({
        ...roll,
        maxUnavailable: roll.maxUnavailable + 1,
        perRack: null,
        hosts: inOneWave(roll),
      })),
  },
  {
    name: 'roll-racks-last',
    says: 'a roll counts the hosts of a rack that are away when it ends',
    rules: ['MR4-few-hosts-away'],
    swarm: calmSwarm({ maxUnavailable: 3, perRack: 1 }),
    plantStore: (store) =>
      misreading<RollRecord>(store.rolls, (roll) => ({ ...roll, perRack: null, hosts: inOneWave(roll) })),
  },
  {
    name: 'roll-claims-are-forgotten',
    says: 'a leader forgets what drains were promised on other hosts',
    rules: ['MN4-claims-kept'],
    swarm: calmSwarm({ maxUnavailable: 3, perRack: null }),
    plantController: ({ index }) => {
      const setDrain = index.setDrain.bind(index);
      index.setDrain = (id, drain) =>
        setDrain(
          id,
          drain === null ? null : { ...drain, moves: drain.moves.map((move) => ({ ...move, memoryMib: 0 })) },
        );
    },
  },
  {
    name: 'roll-resume-moves-again',
    says: 'who goes on with a drain of a roll makes the moves again that were made already',
    rules: ['MN3-drains-keep-their-plan'],
    swarm,
    plantStore: (store) => {
      const paused = new Set<string>();
      misreading<DrainRecord>(store.drains, (drain) => {
        if (drain.state === 'paused') paused.add(drain.id);
        if (!paused.has(drain.id) || drain.state !== 'running') return drain;
        const moves = drain.moves.map((move) =>
          move.state === 'moved' ? ({ ...move, state: 'waiting' } as const) : move,
        );
        return { ...drain, moves };
      });
    },
  },
];
