/** The users of a storage node's processes. Fixed, so that a packet filter can tell them from others. */
import { DISK_PORTS_PER_NODE } from './ports.ts';

/** First of the user IDs of disk daemons; a disk's is this plus its port's number. */
export const DISK_UID_BASE = 700_000;
/** The user of the iSCSI target, after those of the disks' daemons. */
export const TARGET_UID = DISK_UID_BASE + DISK_PORTS_PER_NODE;
/** The user that runs tools on files which people upload. */
export const TOOL_UID = TARGET_UID + 1;
