// Shows the OpenAPI document of the page in Swagger UI. The page has no origin and reaches nobody: there is nothing to try, to authorize or to remember.

const nothing = () => () => null
const spec = JSON.parse(document.getElementById('document').textContent)
// It would open a window.
delete spec.info.license?.url

SwaggerUIBundle({
  spec,
  domNode: document.getElementById('reference'),
  supportedSubmitMethods: [],
  validatorUrl: null,
  deepLinking: false,
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
  displayOperationId: false,
  filter: true,
  plugins: [{ wrapComponents: { AuthorizeBtnContainer: nothing, authorizeOperationBtn: nothing, SchemesContainer: nothing, ServersContainer: nothing } }],
})

const dark = matchMedia('(prefers-color-scheme: dark)')
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches)
dark.addEventListener('change', follow)
follow()
