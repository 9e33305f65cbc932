/** Mistakes of rolls, made on purpose: what a leader does who reads records wrongly. Each shows in small rolls. */
import type { DrainRecord } from '../../core/model/drain.ts';
import type { RollRecord } from '../../core/model/roll.ts';
import type { PlantedBug } from './planted-bug.ts';
import { misreading } from './planting.ts';
import { drawRoll, type Swarm } from './swarm.ts';

const swarm = (seed: number): Swarm => drawRoll(seed, 'small');

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
        // Every host is of the first wave.
        hosts: roll.hosts.map((host) => ({ ...host, wave: 0 })),
      })),
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
