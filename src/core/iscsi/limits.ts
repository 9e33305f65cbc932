/** Every bound of the target in one place: what a peer may hold, and for how long. */
export const LIMITS = {
  /** Commands of one session that are not yet answered. */
  commandWindow: 128,
  /** Immediate commands beyond the window, and task management requests, of one session. */
  immediateMax: 16,
  /** Data of admitted commands of one connection, in bytes; one larger command alone is admitted nevertheless. */
  connectionBytes: 32 * 1024 * 1024,
  /**
   * Unsolicited data of one connection's commands that are not admitted yet; what comes beyond it is discarded and
   * asked for later.
   */
  waitingBytes: 8 * 1024 * 1024,
  /** Data of admitted commands of all connections. */
  targetBytes: 512 * 1024 * 1024,
  /** Bytes that wait to be sent on a connection before nothing more is read from it and no command is started. */
  unsentBytes: 4 * 1024 * 1024,
  /**
   * Bounds of connections that have logged in. A host's VMs share its address, and each of their shared disks has a
   * connection; a VM that moves has connections of both of its generations. No connection is dropped to make room: a
   * guest would see its disk fail.
   */
  loggedIn: { max: 2048, perAddressMax: 1024, perPeerMax: 256, makesRoom: false },
  /** Bounds of connections that have not logged in yet, and the deadline for the login. */
  strangers: { max: 512, perAddressMax: 64 },
  loginDeadlineMs: 15_000,
  /** The deadline without progress of output that is due, or of data that we asked for. */
  stallDeadlineMs: 60_000,
} as const;
