/** Buttons for the actions that the server's table allows; a disabled button says why. */
import { Button, type ButtonProps, Menu } from '@mantine/core';
import type { ReactNode } from 'react';
import type { AllowedAction } from '../api/types.ts';

/** The server's table for one thing; undefined as long as it is not known: then everything can be tried. */
export type Actions = readonly AllowedAction[] | undefined;

/** The reason why an action is not allowed now; null: it is allowed, or that is not known yet. */
function refusalOf(actions: Actions, action: string): string | null {
  const found = actions?.find((each) => each.action === action);
  if (found === undefined || found.allowed) return null;
  return [found.reason, found.advice].filter((part) => part !== null).join(' ');
}

interface ActionProps {
  readonly actions: Actions;
  readonly action: string;
  readonly onAct: () => void;
  readonly children: ReactNode;
}

/** A button that stays in the order of Tab where it is not allowed, so that its reason can be read. */
export function ActionButton({ actions, action, onAct, children, ...look }: ActionProps & ButtonProps) {
  const refusal = refusalOf(actions, action);
  return (
    <Button
      size="xs"
      variant="default"
      {...look}
      {...(refusal === null ? {} : { 'aria-disabled': true, 'data-disabled': true, title: refusal })}
      onClick={() => {
        if (refusal === null) onAct();
      }}
    >
      {children}
    </Button>
  );
}

/** The same action within a menu. */
export function ActionItem({ actions, action, onAct, children, color }: ActionProps & { readonly color?: string }) {
  const refusal = refusalOf(actions, action);
  return (
    <Menu.Item
      {...(color === undefined ? {} : { color })}
      {...(refusal === null ? {} : { 'aria-disabled': true, 'data-disabled': true, title: refusal })}
      closeMenuOnClick={refusal === null}
      onClick={() => {
        if (refusal === null) onAct();
      }}
    >
      {children}
      {refusal === null ? null : <span className="refusal">{refusal}</span>}
    </Menu.Item>
  );
}
