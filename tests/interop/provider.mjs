// An identity provider that others wrote and certified: panva's oidc-provider. Arguments: its port and the application's address.
import Provider from 'oidc-provider'

const [port, application] = process.argv.slice(2)
const issuer = `http://127.0.0.1:${port}`
const claims = { openid: ['sub', 'sid'], profile: ['name', 'realm_access', 'matrix_id'] }

const provider = new Provider(issuer, {
  clients: [{
    client_id: 'griffier',
    client_secret: 'geheim & met +tekens%',
    redirect_uris: [`${application}/signin/callback`],
    post_logout_redirect_uris: [`${application}/signedout`],
    backchannel_logout_uri: `${application}/oidc/backchannel-logout`,
    backchannel_logout_session_required: true,
    id_token_signed_response_alg: 'RS256',
  }],
  claims,
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, name: `Naam van ${id}`, realm_access: { roles: [id, 'iets'] }, matrix_id: `@${id}:x` }),
  }),
  features: { backchannelLogout: { enabled: true }, rpInitiatedLogout: { enabled: true }, devInteractions: { enabled: true } },
  // Its own fetch refuses addresses of this machine, where the application of a test is.
  fetch: (url, options) => globalThis.fetch(url, { ...options, dispatcher: undefined }),
  cookies: { keys: ['alleen voor de test'] },
  ttl: { Interaction: 600, Session: 600, Grant: 600, AccessToken: 600, IdToken: 300 },
})
provider.on('backchannel.error', (_, error) => console.error('backchannel', error.message, error.cause))
provider.on('server_error', (_, error) => console.error('server', error))
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'))
