// On to the app as soon as the pages of all apps that were signed in here are there, or could not be loaded, and in five seconds at the
// latest. Without this script the browser goes on by itself once they are there; the link is for whoever does not want to wait for one.

const goOn = () => {
  const onward = document.getElementById('onward')
  if (onward) location.replace(onward.href)
}
addEventListener('load', goOn)
setTimeout(goOn, 5000)
