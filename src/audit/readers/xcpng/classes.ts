/** The classes of XAPI's records that are read, and the answers of its check of an evacuation. */
export type RecordClass =
  | 'vm'
  | 'host'
  | 'sr'
  | 'vdi'
  | 'vbd'
  | 'pbd'
  | 'network'
  | 'pif'
  | 'vif'
  | 'vusb'
  | 'vm-group'
  | 'pool'
  | 'evacuation';
