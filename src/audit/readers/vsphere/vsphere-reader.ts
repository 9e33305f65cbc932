/** vSphere without RVTools: JSON of govc and PowerCLI, `.vmx` files, `.ovf` packages, descriptors of disks. */
import type { EstateBuilder } from '../../estate/estate-builder.ts';
import type { Document, Reader } from '../document.ts';
import { ExportSite, sitesOf } from '../export-site.ts';
import { FIX, InventoryReader } from './inventory.ts';
import { hasManagedObjects, haveConflicts, managedObjects } from './managed-objects.ts';
import { isOvf, readOvf } from './ovf.ts';
import { isVmdk, isVmx, readVmxFiles } from './vmx.ts';

const PLATFORM = 'vsphere';

/** The reader of vSphere's own formats. */
export const vsphereReader: Reader = {
  platform: PLATFORM,
  claims: (document) => isOvf(document) || isVmx(document) || isVmdk(document) || hasManagedObjects(document),
  read: (documents: readonly Document[], into: EstateBuilder) => {
    for (const { file } of documents) into.source(PLATFORM, file);
    for (const document of documents) if (isOvf(document)) readOvf(document, into);
    readVmxFiles(documents, into);
    const exported = documents.filter(hasManagedObjects);
    // IDs are unique within one vCenter only. Several directories of one vCenter have no conflict, and stay one site.
    const anchors = haveConflicts(exported) ? [hasManagedObjects] : [];
    for (const site of exported.length === 0 ? [] : sitesOf(exported, anchors))
      new InventoryReader(managedObjects(site.documents), new ExportSite(PLATFORM, FIX, into, site.directory)).read();
  },
};
