/** vSphere without RVTools: JSON of govc and PowerCLI, `.vmx` files, `.ovf` packages, descriptors of disks. */
import type { EstateBuilder } from '../../estate/estate-builder.ts';
import type { Document, Reader } from '../document.ts';
import { InventoryReader } from './inventory.ts';
import { hasManagedObjects, managedObjects } from './managed-objects.ts';
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
    const objects = managedObjects(documents);
    if (objects.size > 0) new InventoryReader(objects, into).read();
  },
};
