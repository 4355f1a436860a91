//! Backends of the demo; each answers with its name.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

/// Starts backends on free loopback ports, on a thread of their own. They run until the process ends.
pub fn start(count: usize) -> io::Result<Vec<SocketAddr>> {
    let sockets: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<io::Result<_>>()?;
    let addresses: Vec<SocketAddr> = sockets.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
    let (started, outcome) = mpsc::channel();
    let known = addresses.clone();
    std::thread::Builder::new().name("demo-backends".to_owned()).spawn(move || {
        actix::System::new().block_on(async move {
            let mut server = HttpServer::new(move || {
                let known = known.clone();
                App::new().default_service(web::to(move |request| hello(request, known.clone())))
            })
            .workers(1)
            .disable_signals();
            for socket in sockets {
                server = match server.listen(socket) {
                    Ok(server) => server,
                    Err(error) => return drop(started.send(Err(error))),
                };
            }
            let _ = started.send(Ok(()));
            // Runs until the process ends.
            let _ = server.run().await;
        });
    })?;
    outcome.recv().map_err(io::Error::other)??;
    Ok(addresses)
}

async fn hello(request: HttpRequest, known: Vec<SocketAddr>) -> HttpResponse {
    let here = request.app_config().local_addr();
    let number = known.iter().position(|address| *address == here).map_or(0, |at| at + 1);
    HttpResponse::Ok().content_type("text/plain").body(format!("hello from backend {number} on {here}\n"))
}
