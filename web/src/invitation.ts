/** What the server hands out so that this page may join a room. */
export interface Invitation {
  url: string;
  token: string;
}

/** The room named in the page's address, or the default one. */
export function roomFromAddress(): string {
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
