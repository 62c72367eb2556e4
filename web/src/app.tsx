import { PreJoin, type LocalUserChoices } from "@livekit/components-react";
import { useCallback, useEffect, useState } from "react";
import { Call } from "./call";
import { fetchInvitation, given, nameFromAddress, roomToJoin, type Invitation } from "./invitation";

interface Visit {
  invitation: Invitation;
  choices: LocalUserChoices;
}

const room = roomToJoin();

/** Asks for a name and devices, then holds the call. */
export function App() {
  const [visit, setVisit] = useState<Visit>();
  const [problem, setProblem] = useState("");

  const join = useCallback(async (choices: LocalUserChoices) => {
    setProblem("");
    try {
      setVisit({ invitation: given ?? (await fetchInvitation(room, choices.username)), choices });
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    }
  }, []);

  useEffect(() => {
    const username = nameFromAddress();
    if (username) {
      void join({ username, audioEnabled: true, videoEnabled: true, audioDeviceId: "", videoDeviceId: "" });
    }
  }, [join]);

  const leave = useCallback((reason: string) => {
    setProblem(reason);
    setVisit(undefined);
  }, []);

  return (
    <main className="page">
      <header className="page-header">
        <h1>roomful</h1>
        <span className="page-room">
          room <strong>{room}</strong>
        </span>
        {!given && <InviteLink />}
      </header>
      {problem && (
        <p className="page-problem" role="alert">
          {problem}
        </p>
      )}
      {visit ? (
        <Call {...visit} onLeft={leave} onProblem={setProblem} />
      ) : (
        <PreJoin className="page-prejoin" persistUserChoices={false} defaults={given && { username: "notebook" }} joinLabel={`Join ${room}`} onSubmit={(choices) => void join(choices)} />
      )}
    </main>
  );
}

/** Copies the page's address, so that a second tab or person can come. */
function InviteLink() {
  const [copied, setCopied] = useState(false);
  const address = `${window.location.origin}${window.location.pathname}?room=${encodeURIComponent(room)}`;
  return (
    <button
      className="lk-button page-invite"
      onClick={() => void navigator.clipboard.writeText(address).then(() => setCopied(true))}
    >
      {copied ? "Link copied" : "Copy invite link"}
    </button>
  );
}
