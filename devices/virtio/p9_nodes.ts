// The places that a 9P client has named, as a tree of names below the shared directory. Fids point into it, so that a place
// that the client renames moves with everything below it. It says nothing of what the host has there now.

import { assert } from "../../src/base/errors.ts";
import type { Path } from "./p9_share.ts";

export class Node {
  /** Who points here: fids, and nodes below. */
  references = 0;
  /** It was removed, or something else was put into its place. */
  gone = false;
  readonly below = new Map<string, Node>();
  constructor(public parent: Node | null, public name: string, public depth: number) {}
}

export class NodeTree {
  readonly root = new Node(null, "", 0);
  /** Nodes but for the root. */
  count = 0;

  constructor() {
    this.root.references = 1;
  }

  /** The node `name` below `parent`, which its caller holds or releases. */
  child(parent: Node, name: string): Node {
    const known = parent.below.get(name);
    if (known !== undefined) return known;
    const node = new Node(parent, name, parent.depth + 1);
    parent.below.set(name, node);
    parent.references++;
    this.count++;
    return node;
  }

  hold(node: Node): Node {
    node.references++;
    return node;
  }
  release(node: Node): void {
    node.references--;
    this.prune(node);
  }

  /** Forgets a node that nobody points to, and those above that only it pointed to. */
  prune(from: Node): void {
    for (let node = from; node.references === 0;) {
      const { parent } = node;
      assert(parent !== null, "the root is always pointed to");
      if (!node.gone) parent.below.delete(node.name);
      this.count--;
      parent.references--;
      node = parent;
    }
  }

  /** The names that lead to a node; null when it or something above it is gone. */
  path(node: Node): Path | null {
    const names: string[] = [];
    for (let at = node; at.parent !== null; at = at.parent) {
      if (at.gone) return null;
      names.push(at.name);
    }
    return names.reverse();
  }

  /** Whether `node` is `above` or below it. */
  isWithin(node: Node, above: Node): boolean {
    for (let at: Node | null = node; at !== null; at = at.parent) if (at === above) return true;
    return false;
  }

  /** What was called `name` is no longer there. */
  remove(parent: Node, name: string): void {
    const node = parent.below.get(name);
    if (node === undefined) return;
    node.gone = true;
    parent.below.delete(name);
  }

  /** What was called `name` is now called `newName`, in place of what was there. It is not moved below itself. */
  move(parent: Node, name: string, newParent: Node, newName: string): void {
    const node = parent.below.get(name);
    if (parent === newParent && name === newName) return;
    this.remove(newParent, newName);
    if (node === undefined) return;
    parent.below.delete(name);
    newParent.below.set(newName, node);
    newParent.references++;
    node.parent = newParent;
    node.name = newName;
    const deeper = newParent.depth + 1 - node.depth;
    const moved = [node];
    for (let at = moved.pop(); at !== undefined; at = moved.pop()) {
      at.depth += deeper;
      moved.push(...at.below.values());
    }
    parent.references--;
    this.prune(parent);
  }
}
