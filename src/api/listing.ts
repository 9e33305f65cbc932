/** Lists as operations of the API: pages of objects. */
import { type TSchema, Type } from 'typebox';
import { nullable, strict } from './common.ts';
import { PageQuerySchema } from './requests.ts';

/** Response schema of a list. */
export const pageOf = <T extends TSchema>(item: T) =>
  Type.Object(
    {
      items: Type.Array(item),
      next: nullable(
        Type.String({ description: '`after` of the request for the next page; null: this is the last one' }),
      ),
    },
    { ...strict, title: `${(item as { readonly title?: string }).title ?? ''}Page` },
  );
/** Operation of a list without filters. */
export const all = <T extends TSchema>(item: T) => ({ query: PageQuerySchema, answer: pageOf(item) }) as const;
