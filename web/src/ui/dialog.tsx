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

/** See the module. */
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
    <Modal opened onClose={onClose} title={title} lockScroll={false} transitionProps={{ duration: 0 }} centered>
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
    </Modal>
  );
}
