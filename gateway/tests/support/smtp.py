"""An SMTP server that does as it is told: smtp.py MODE [CERTIFICATE KEY]. It says its port, and then a line for each that it took."""

import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Script:
    def __init__(self, mode):
        self.mode = mode
        self.seen = {}

    def count(self, what):
        self.seen[what] = self.seen.get(what, 0) + 1
        return self.seen[what]

    async def handle_RCPT(self, server, session, envelope, address, options):
        if self.mode == "greylist" and self.count(address) < 3:
            return "451 4.7.1 greylisted, come again in a while"
        if self.mode == "refuse":
            return "550 5.1.1 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if self.mode == "hang":
            await asyncio.sleep(3600)
        if self.mode == "cut":
            server.transport.abort()
            await asyncio.sleep(3600)
        if self.mode == "full":
            return "552 5.2.2 the mailbox is full"
        if self.mode == "busy":
            return "421 4.3.2 too busy"
        told = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "text": envelope.content.decode("utf-8", "replace")}
        print(json.dumps(told), flush=True)
        return "250 taken"


async def main():
    mode, files = sys.argv[1], sys.argv[2:]
    script, context = Script(mode), None
    if files:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*files)
    options = {"enable_SMTPUTF8": False}
    if mode == "auth":
        options["authenticator"] = lambda *_: AuthResult(success=False, handled=False)
        options["auth_require_tls"] = True
    if context and mode != "tls":
        options["tls_context"] = context
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(script, **options), "127.0.0.1", 0, ssl=context if mode == "tls" else None
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
