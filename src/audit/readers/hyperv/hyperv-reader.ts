/** Hyper-V and SCVMM: JSON and CLIXML of their cmdlets. */
import type { EstateBuilder } from '../../estate/estate-builder.ts';
import type { Document, Reader } from '../document.ts';
import { CmdletReader } from './cmdlets.ts';
import { recordsOf } from './records.ts';
import { ScvmmReader } from './scvmm.ts';

const PLATFORM = 'hyperv';

/** The reader of both; SCVMM's records form an export of their own. */
export const hypervReader: Reader = {
  platform: PLATFORM,
  claims: (document) => recordsOf([document]).size > 0 || isEmptyOutput(document),
  read: (documents: readonly Document[], into: EstateBuilder) => {
    for (const { file } of documents) into.source(PLATFORM, file);
    const records = recordsOf(documents);
    const kinds = [...records.keys()];
    if (kinds.some((kind) => kind.startsWith('scvmm'))) new ScvmmReader(records, into).read();
    const files = documents.map(({ file }) => file);
    if (kinds.some((kind) => !kind.startsWith('scvmm'))) new CmdletReader(records, files, into).read();
  },
};

/** Returns true for the output of a cmdlet that found nothing: a file with the cmdlet's name and no object. */
function isEmptyOutput(document: Document): boolean {
  if (document.kind !== 'data' || !/Get-(?:VM|SC|Cluster)\w+/i.test(document.file)) return false;
  return document.values.every((value) => value === null || (Array.isArray(value) && value.length === 0));
}
