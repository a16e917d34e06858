"""
What tests stand on. The kit's own tests use only the files marked *kit*: those know no order.

Values
    builders            orders and their events: `an_order()`, `paid(order)`, `life(…)`
    examples            one fixed event of each type: the golden records
    fact_schedules      every sequence of facts about one order, and how each ends
    strategies          *kit*: Hypothesis strategies
    records             *kit*: metadata, headers and records for any event
    probe_language      *kit*: the events, topics and schemas of the listener probe
    sales               *kit*: sales by shop and by day, counted on the in-memory bus
    letters             *kit*: dead letters as the desk has read them
    connect_letters     *kit*: dead letters as Kafka Connect writes them
    poison              records that nobody can read, kind by kind

Real parts
    stack               Kafka, PostgreSQL and registry: the session's, a module's own, a private one
    zipkin              what a stack's Zipkin says: traces, services, dependencies
    silent_proxy        a TCP proxy that falls silent: connections stay open, nothing passes
    certificates        *kit*: certificates that vouch for themselves
    random_client       a client made of an OpenAPI document that sends anything: Schemathesis
    slow_server         *kit*: a server that answers by the byte, at its own pace
    span_collector      *kit*: a back end for spans, or one that refuses them
    mock_cluster        *kit*: librdkafka's mock broker, with faults on demand
    databases           *kit*: an empty database; a database's catalogue
    products            the demo products in an order database
    stock               the demo stock in an inventory database, what came in, and the audit
    warehouse           the database that Connect fills on a test's stack, and its sink
    debezium            Debezium in the place of order's relay, on a test's stack
    outbox_load         orders placed while an outbox's reader is killed
    payments_ledger     what a test put on `payments`, payment by payment
    payment_views       what payment publishes of orders that it closed
    kafka_tools         Kafka's own command-line tools; the `orderflow` command
    recorded_metrics    what a process exported over some time, as rules about metrics want it
    raw_producer        records that Python's client cannot write

Services as processes
    service             any service: start, produce what it consumes, read what it publishes
    order_service       order
    payment_service     payment with its provider; both ledgers
    notification_service  notification with its mail sink
    revenue_service     revenue: its instances, and what its tables say
    all_services        all of them
    books               a small system whose books balance, for what is planted in them
    whole_stack         `orderflow up` on an instance of its own, asked by the command line
    psp, mail_sink      the simulated neighbours
    webhook_receiver    takes the simulated provider's webhooks, or refuses them
    outages             outages of the whole stack, in the form of drills
    afterwards          a stack at rest: orders, topics and the provider's ledger compared
    balancer            an HTTP balancer before two instances of an API
    small_disk          a small file system for one process
    statements          every SQL statement of the code, as a plan without values needs it
    stepped_clock       runs a service under a clock that a test steps
    quiet_display       watches a drill and says nothing
    recommendation      a service of another team, that consumes the life-cycle feed
    lake_store          a lake's S3-compatible store as a process, and what DuckDB reads in a lake
    newcomer            a copy of the package with one more service in it

Probes: services that belong to the tests
    memory_listener     *kit*: a listener on the in-memory bus, turn by turn
    spans               *kit*: spans kept in memory, and whether a trace is whole
    listener_probe      *kit*: a listener with its own topic, and a diary of its handler's calls
    dead_letters, desk_worker  *kit*: a group's dead letters on the broker; the desk as a process
    outbox_probe        *kit*: an outbox with its own topic and relay
    debezium            an outbox's connector in Connect, in the relay's place
    outbox_load         orders, and late writers, for whoever publishes an outbox

Without processes
    lake_rows           payments as the lake exporter gets them, and the rows of its objects
    memory_store        the lake's store in memory
    inbox_worker        the database half of a listener: inbox, handler, commit
    flaky_provider      a payment provider in memory, behind a network that loses and delays
    payment_books       the payment service's books in memory
    scripted_provider   *kit*: a server that answers over HTTP byte for byte as scripted
    provider_client     the service's own client of the provider, one call after the other
    operations_api      the operations API, in front of what a test gives it
    scripted_smtp       a mail server that answers as scripted
    log_lines           *kit*: the log lines of a test, as a program reads them

Alerts
    promql              Prometheus' query language, evaluated over recorded series
    alert_rules         Prometheus' rules, and promtool's unit tests of them
    runbooks            the commands that runbooks tell an operator to type
    printed_commands    the commands that our code prints, of the source
    metric_names        every sample that a process can export, with its labels

Campaigns
    campaigns           a plugin: what campaigns of faults counted, as a table at the end of a run

Documents
    asyncapi_model      AsyncAPI 3.0.0, as far as our document goes
    documented          answers and examples against an OpenAPI document
"""
