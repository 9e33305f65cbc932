/** A question before something is done. */
import { Button, Modal } from '@mantine/core';
import type { ReactNode } from 'react';
import { TEXTS } from '../texts/texts.ts';

interface DialogProps {
  readonly title: string;
  readonly action: string;
  readonly isDangerous?: boolean;
  readonly isDisabled?: boolean;
  readonly onClose: () => void;
  readonly onAct: () => void;
  readonly children: ReactNode;
}

/** See the module's comment. */
export function Dialog({
  title,
  action,
  isDangerous = false,
  isDisabled = false,
  onClose,
  onAct,
  children,
}: DialogProps) {
  return (
    <DialogFrame title={title} onClose={onClose}>
      <h2 className="dialog-title">{title}</h2>
      <form
        className="form"
        onSubmit={(event) => {
          event.preventDefault();
          onAct();
        }}
      >
        {children}
        <div className="form-end">
          <Button size="xs" type="submit" color={isDangerous ? 'red' : 'blue'} disabled={isDisabled} data-autofocus>
            {action}
          </Button>
          <Button size="xs" variant="default" onClick={onClose}>
            {TEXTS.cancel}
          </Button>
        </div>
      </form>
    </DialogFrame>
  );
}

interface FrameProps {
  /** The dialogue's name for screen readers. */
  readonly title: string;
  readonly isFlush?: boolean;
  readonly onClose: () => void;
  readonly children: ReactNode;
}

/** A window above the page: it holds the focus, and Escape closes it. */
export function DialogFrame({ title, isFlush = false, onClose, children }: FrameProps) {
  return (
    <Modal.Root
      opened
      onClose={onClose}
      lockScroll={false}
      transitionProps={{ duration: 0 }}
      size={isFlush ? 'lg' : 'md'}
    >
      <Modal.Overlay />
      <Modal.Content aria-label={title}>
        <Modal.Body p={isFlush ? 0 : 'md'}>{children}</Modal.Body>
      </Modal.Content>
    </Modal.Root>
  );
}
