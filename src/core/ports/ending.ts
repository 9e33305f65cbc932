/**
 * Tells the called code that the caller waits no more: the part of an AbortSignal that the core needs, since
 * AbortSignal is not available to it.
 */
export interface Ending {
  readonly aborted: boolean;
  addEventListener(type: 'abort', listener: () => void, options?: { readonly once?: boolean }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}
