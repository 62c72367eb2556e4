/** What the server hands out so that this page may join a room. */
export interface Invitation {
  url: string;
  token: string;
}

declare global {
  interface Window {
    roomfulInvitation?: Invitation;
  }
}

/** What the page was displayed with, in a notebook: then it asks no server for an invitation. */
export const given: Invitation | undefined = window.roomfulInvitation;

/** The room of the given invitation or of the page's address, or the default one. */
export function roomToJoin(): string {
  if (given) {
    const claims = given.token.split(".")[1]?.replaceAll("-", "+").replaceAll("_", "/") ?? "";
    return (JSON.parse(atob(claims)) as { video?: { room?: string } }).video?.room ?? "";
  }
  return new URLSearchParams(window.location.search).get("room")?.trim() || "lobby";
}

/** The name given in the page's address; with one, the page joins without asking. */
export function nameFromAddress(): string {
  return new URLSearchParams(window.location.search).get("name")?.trim() ?? "";
}

/** Asks the development server for a token; the error text is the server's own. */
export async function fetchInvitation(room: string, name: string): Promise<Invitation> {
  const identity = `${name}-${Math.random().toString(36).slice(2, 6)}`;
  const query = new URLSearchParams({ room, identity, name });
  const response = await fetch(`dev/token?${query}`);
  if (!response.ok) {
    throw new Error((await response.text()) || `The server answered ${response.status}.`);
  }
  return (await response.json()) as Invitation;
}
