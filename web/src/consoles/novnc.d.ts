/** The part of noVNC that is used; noVNC has no types of its own. */
declare module '@novnc/novnc' {
  class RFB extends EventTarget {
    constructor(target: HTMLElement, channel: WebSocket, options?: { readonly shared?: boolean });
    scaleViewport: boolean;
    focus(): void;
    sendCtrlAltDel(): void;
    sendKey(keysym: number, code: string | null): void;
    disconnect(): void;
  }

  export { RFB as default };
}
