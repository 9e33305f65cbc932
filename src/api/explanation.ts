/** Why there is no plan, and what would make one possible, as problem details say it. */
import { Type } from 'typebox';
import { nullable, strict } from './common.ts';

const text = Type.String();

export const ExplanationSchema = Type.Object(
  {
    about: Type.String({ description: 'what is not possible, as a sentence' }),
    vms: Type.Array(
      Type.Object(
        {
          vm: text,
          held: nullable(Type.String({ description: 'why it cannot be moved whatever host there is; null: it could' })),
          hosts: Type.Array(
            Type.Object(
              { why: Type.String({ description: 'what excludes these hosts' }), hosts: Type.Array(text) },
              strict,
            ),
            { description: 'every host once, by what excludes it' },
          ),
        },
        strict,
      ),
      { description: 'some VMs without a place' },
    ),
    moreVms: Type.Integer({ description: 'how many more VMs have none' }),
    conflict: Type.Array(text, {
      description: 'what cannot be met together, even with everything else given up; each is needed. Empty: not found',
    }),
    isSmallest: Type.Boolean({ description: 'it is known that no smaller set conflicts' }),
    ways: Type.Array(
      Type.Object(
        { what: Type.String({ description: 'such as "with 12 GiB more on h3"' }), moves: Type.Integer() },
        strict,
      ),
      {
        description:
          'changes that would make it possible, each verified by planning again, with the moves of that plan',
      },
    ),
    isComplete: Type.Boolean({ description: 'false: time was up before everything was tried' }),
  },
  {
    ...strict,
    title: 'Explanation',
    description: 'why hosts cannot be emptied, or could not be any more, and what would change that',
  },
);
